import { takeAdvisoryLock } from "../platform/advisory-lock.ts";
import type { InstanceReport, Inventory } from "@holdfast/contract";
import { statement, toJson, type Queryable } from "../platform/db.ts";
import type { Instance, Machine, PlacedInstance } from "./model.ts";

interface MachineRow {
  readonly id: string;
  readonly name: string;
  readonly session: number;
  readonly state: Machine["state"];
  readonly agent_version: string;
  readonly last_heartbeat_at: number;
  readonly registered_at: number;
}

interface InstanceRow {
  readonly id: string;
  readonly machine_id: string;
  readonly key: string;
  readonly name: string;
  readonly state: Instance["state"];
  readonly reason: string | null;
  readonly cordoned: boolean;
  readonly inventory_digest: string | null;
  readonly vram_free_bytes: number | null;
  readonly last_requirement_id: number | null;
  readonly state_since: number;
  readonly quarantined_until: number | null;
  readonly quarantine_reason: string | null;
  readonly can_restart: boolean;
  /** By the database's clock. */
  readonly is_quarantined: boolean;
}

const INSTANCE_COLUMNS = "i.*, coalesce(i.quarantined_until > now(), false) as is_quarantined";

/** A machine's row as a domain value. */
function toMachine(row: MachineRow): Machine {
  return {
    id: row.id,
    name: row.name,
    session: row.session,
    state: row.state,
    agentVersion: row.agent_version,
    lastHeartbeatAt: row.last_heartbeat_at,
    registeredAt: row.registered_at,
  };
}

function toInstance(row: InstanceRow): Instance {
  return {
    id: row.id,
    machineId: row.machine_id,
    key: row.key,
    name: row.name,
    state: row.state,
    reason: row.reason,
    cordoned: row.cordoned,
    inventoryDigest: row.inventory_digest,
    vramFreeBytes: row.vram_free_bytes,
    lastRequirementId: row.last_requirement_id,
    stateSince: row.state_since,
    canRestart: row.can_restart,
    quarantine:
      row.is_quarantined && row.quarantined_until !== null
        ? { until: row.quarantined_until, reason: row.quarantine_reason ?? "" }
        : null,
  };
}

/** What a registration writes of the machine itself. */
export interface MachineRegistration {
  readonly id: string;
  readonly name: string;
  readonly bootId: string;
  readonly agentVersion: string;
}

/** The name of a machine whose row is locked from here on; null when there is none. */
export async function lockMachineName(tx: Queryable, id: string): Promise<string | null> {
  const { rows } = await tx.query<{ name: string }>(
    "select name from machines where id = $1 for update",
    [id],
  );
  return rows[0]?.name ?? null;
}

/**
 * Inserts the machine, or begins a new session of a known one. The same boot id again (a repeated
 * registration whose answer was lost) begins a new session too: sessions only ever grow.
 */
export async function upsertMachine(db: Queryable, machine: MachineRegistration): Promise<Machine> {
  const { rows } = await db.query<MachineRow>(
    `insert into machines as m (id, name, boot_id, session, state, agent_version)
     values ($1, $2, $3, 1, 'online', $4)
     on conflict (id) do update set
       name = excluded.name, boot_id = excluded.boot_id, session = m.session + 1,
       state = 'online', agent_version = excluded.agent_version,
       last_heartbeat_at = now(), registered_at = now()
     returning *`,
    [machine.id, machine.name, machine.bootId, machine.agentVersion],
  );
  const row = rows[0];
  if (row === undefined) throw new Error("an upsert of a machine returned no row");
  return toMachine(row);
}

/** What a registration writes of an instance. */
export interface InstanceRegistration {
  readonly id: string;
  readonly key: string;
  readonly name: string;
  readonly canRestart: boolean;
}

/** Inserts or renames the declared instances; returns all of them, `starting` until they report. */
export async function upsertInstances(
  db: Queryable,
  machineId: string,
  instances: readonly InstanceRegistration[],
): Promise<Instance[]> {
  const { rows } = await db.query<InstanceRow>(
    `insert into instances as i (id, machine_id, key, name, can_restart, state)
     select d.id, $1, d.key, d.name, d.can_restart, 'starting'
     from unnest($2::text[], $3::text[], $4::text[], $5::boolean[])
       as d (id, key, name, can_restart)
     on conflict (machine_id, key) do update set
       name = excluded.name, can_restart = excluded.can_restart, state = 'starting', reason = null, declared = true,
       state_since = now()
     returning ${INSTANCE_COLUMNS}`,
    [
      machineId,
      instances.map((instance) => instance.id),
      instances.map((instance) => instance.key),
      instances.map((instance) => instance.name),
      instances.map((instance) => instance.canRestart),
    ],
  );
  return rows.map(toInstance);
}

/** Sets aside the instances that the machine no longer declares. */
export async function setAsideUndeclared(
  db: Queryable,
  machineId: string,
  keys: readonly string[],
): Promise<void> {
  await db.query(
    `update instances set declared = false, state = 'stopped',
       reason = 'its agent does not name it any more', state_since = now()
     where machine_id = $1 and key <> all($2::text[]) and declared`,
    [machineId, keys],
  );
}

const REPORT_INSTANCES = statement(
  "machines.report_instances",
  `with agent as materialized (
     -- Locked, so that a registration that has begun a newer session is waited for, and seen.
     select id from machines where id = $1 and session = $7 for share
   ),
   kept as materialized (
     select digest from inventories where digest = any($5::text[]) for key share
   )
   update instances i set
     state = r.state, reason = r.reason, inventory_digest = r.digest, vram_free_bytes = r.vram,
     state_since = case when i.state = r.state then i.state_since else now() end
   from agent, unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
     as r (id, state, reason, digest, vram)
   where i.id = r.id and i.machine_id = agent.id
   returning i.id, i.name, i.state, i.reason, i.inventory_digest as "inventoryDigest",
     (select array_agg(digest) from kept) as kept`,
);

/** The process that reports. */
export interface ReportingAgent {
  readonly machineId: string;
  readonly session: number;
}

/** What a report left in an instance's row. */
export interface ReportedInstance {
  readonly id: string;
  readonly name: string;
  readonly state: string;
  readonly reason: string | null;
}

/**
 * Writes what instances say of themselves, unless a newer session of their machine has begun: what an
 * older process says is older. Call it for those whose report changed. Also gives the
 * digests among them that are not in the database: never sent, or removed when no instance had them.
 */
export async function reportInstances(
  db: Queryable,
  agent: ReportingAgent,
  reports: readonly InstanceReport[],
): Promise<{
  readonly instances: readonly ReportedInstance[];
  readonly unknownDigests: readonly string[];
}> {
  const { rows } = await db.query<
    ReportedInstance & { inventoryDigest: string | null; kept: string[] | null }
  >(REPORT_INSTANCES, [
    agent.machineId,
    reports.map((report) => report.instanceId),
    reports.map((report) => report.state),
    reports.map((report) => report.reason),
    reports.map((report) => report.inventoryDigest),
    reports.map((report) => report.vramFreeBytes),
    agent.session,
  ]);
  const kept = new Set(rows[0]?.kept ?? []);
  const digests = rows.flatMap((row) => row.inventoryDigest ?? []);
  return { instances: rows, unknownDigests: digests.filter((digest) => !kept.has(digest)) };
}

/** Those of the instances whose agents can start them anew. */
export async function readRestartable(
  db: Queryable,
  instanceIds: readonly string[],
): Promise<ReadonlySet<string>> {
  const { rows } = await db.query<{ id: string }>(
    "select id from instances where id = any($1::text[]) and can_restart",
    [instanceIds],
  );
  return new Set(rows.map(({ id }) => id));
}

/** Every machine that registered once, newest first, at most `limit`. */
export async function listMachines(db: Queryable, limit: number): Promise<Machine[]> {
  const { rows } = await db.query<MachineRow>("select * from machines order by id desc limit $1", [
    limit,
  ]);
  return rows.map(toMachine);
}

/** All instances that their agents declare, with the state of their machines. */
export async function listPlacedInstances(db: Queryable): Promise<PlacedInstance[]> {
  const { rows } = await db.query<InstanceRow & { machine_state: Machine["state"] }>(
    `select ${INSTANCE_COLUMNS}, m.state as machine_state
     from instances i join machines m on m.id = i.machine_id
     where i.declared order by i.id`,
  );
  return rows.map((row) => ({ ...toInstance(row), machineState: row.machine_state }));
}

/** One machine; null when there is none. */
export async function readMachine(db: Queryable, id: string): Promise<Machine | null> {
  const { rows } = await db.query<MachineRow>("select * from machines where id = $1", [id]);
  return rows[0] === undefined ? null : toMachine(rows[0]);
}

/** The instances that a machine's agent declares. */
export async function listInstancesOf(db: Queryable, machineId: string): Promise<Instance[]> {
  const { rows } = await db.query<InstanceRow>(
    `select ${INSTANCE_COLUMNS} from instances i
     where i.machine_id = $1 and i.declared order by i.id`,
    [machineId],
  );
  return rows.map(toInstance);
}

/** Sets or lifts a cordon, a quarantine with it; null when there is no such instance. */
export async function setCordon(
  db: Queryable,
  instanceId: string,
  cordoned: boolean,
): Promise<Instance | null> {
  const { rows } = await db.query<InstanceRow>(
    `update instances i set cordoned = $2, cordoned_by_fleet = false,
       quarantined_until = case when $2 then quarantined_until end,
       quarantine_count = case when $2 then quarantine_count else 0 end
     where id = $1 returning ${INSTANCE_COLUMNS}`,
    [instanceId, cordoned],
  );
  return rows[0] === undefined ? null : toInstance(rows[0]);
}

/** Cordons all instances of a machine, or lifts what was cordoned in this way: a person's cordon stays. */
export async function setMachineCordon(
  db: Queryable,
  machineId: string,
  cordoned: boolean,
): Promise<void> {
  await db.query(
    `update instances set cordoned = $2, cordoned_by_fleet = $2
     where machine_id = $1 and cordoned <> $2 and ($2 or cordoned_by_fleet)`,
    [machineId, cordoned],
  );
}

/** Machines whose last heartbeat is older than the limit become `lost`; they are returned. */
export async function markLostMachines(db: Queryable, timeoutMs: number): Promise<Machine[]> {
  const { rows } = await db.query<MachineRow>(
    `update machines set state = 'lost'
     where state = 'online' and last_heartbeat_at < now() - make_interval(secs => $1::float8 / 1000)
     returning *`,
    [timeoutMs],
  );
  return rows.map(toMachine);
}

/** Keeps an inventory and its object info. A known digest stays as it is. */
export async function insertInventory(
  db: Queryable,
  inventory: Inventory,
  objectInfo: unknown,
): Promise<void> {
  await db.query(
    `insert into inventories
       (digest, node_classes, models, comfyui_version, vram_total_bytes, device_name, simulated,
        object_info, model_facts)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
     on conflict (digest) do nothing`,
    [
      inventory.digest,
      inventory.nodeClasses,
      toJson(inventory.models),
      inventory.comfyuiVersion,
      inventory.vramTotalBytes,
      inventory.deviceName,
      inventory.simulated,
      toJson(objectInfo),
      inventory.modelFacts === undefined ? null : toJson(inventory.modelFacts),
    ],
  );
}

/** The inventories with these digests, without their object info. */
export async function readInventories(
  db: Queryable,
  digests: readonly string[],
): Promise<Inventory[]> {
  const { rows } = await db.query<{
    digest: string;
    node_classes: string[];
    models: Record<string, string[]>;
    comfyui_version: string | null;
    vram_total_bytes: number | null;
    device_name: string | null;
    simulated: boolean;
    model_facts: NonNullable<Inventory["modelFacts"]> | null;
  }>(
    `select digest, node_classes, models, comfyui_version, vram_total_bytes, device_name, simulated,
       model_facts
     from inventories where digest = any($1::text[])`,
    [digests],
  );
  return rows.map((row) => ({
    digest: row.digest,
    nodeClasses: row.node_classes,
    models: row.models,
    comfyuiVersion: row.comfyui_version,
    vramTotalBytes: row.vram_total_bytes,
    deviceName: row.device_name,
    simulated: row.simulated,
    ...(row.model_facts !== null && { modelFacts: row.model_facts }),
  }));
}

/** The object infos of the inventories in use by healthy instances, most used first. */
export async function readObjectInfos(db: Queryable, limit: number): Promise<unknown[]> {
  const { rows } = await db.query<{ object_info: unknown }>(
    `select v.object_info
     from inventories v join instances i on i.inventory_digest = v.digest
     where i.state = 'healthy'
     group by v.digest order by count(*) desc limit $1`,
    [limit],
  );
  return rows.map((row) => row.object_info);
}

/** How many machines and instances there are. */
export interface FleetCounts {
  readonly instances: { readonly total: number; readonly healthy: number };
  readonly machines: { readonly total: number; readonly online: number };
}

/** Counts the fleet; instances that nobody declares any more are not in it. */
export async function countFleet(db: Queryable): Promise<FleetCounts> {
  const { rows } = await db.query<{
    instances: number;
    healthy: number;
    machines: number;
    online: number;
  }>(
    `select
       (select count(*)::int from machines) as machines,
       (select count(*)::int from machines where state = 'online') as online,
       count(*)::int as instances,
       (count(*) filter (where i.state = 'healthy' and m.state = 'online'))::int as healthy
     from instances i join machines m on m.id = i.machine_id where i.declared`,
  );
  const row = rows[0] ?? { instances: 0, healthy: 0, machines: 0, online: 0 };
  return {
    instances: { total: row.instances, healthy: row.healthy },
    machines: { total: row.machines, online: row.online },
  };
}

/** Who was set aside just now. */
export interface SetAside {
  readonly id: string;
  readonly machineId: string;
  readonly name: string;
}

/** The advisory lock under which instances are set aside: one after the other over all replicas. */
const QUARANTINE_LOCK = 4_801_336;

/**
 * Within a transaction: sets an instance aside, or all of its machine, for a time from now; those that are set aside longer
 * already stay as they are. Returns those that it newly set aside.
 */
export async function setQuarantine(
  db: Queryable,
  instanceId: string,
  quarantine: {
    readonly scope: "instance" | "machine";
    readonly forMs: number;
    readonly reason: string;
    /** Quarantines in a row before this one. */
    readonly earlier: number;
  },
): Promise<SetAside[]> {
  await takeAdvisoryLock(db, QUARANTINE_LOCK);
  const { rows } = await db.query<SetAside & Record<string, unknown>>(
    `update instances i set quarantined_until = now() + make_interval(secs => $3::float8 / 1000),
       quarantine_reason = $4, quarantine_count = $5 + 1
     where (i.id = $1 or ($2 = 'machine' and i.machine_id = (
         select o.machine_id from instances o where o.id = $1)))
       -- Attempts that were under way fail after it, and say nothing new.
       and coalesce(i.quarantined_until < now(), true)
       -- Asked again here, one after the other: all that fail in one second must not go together.
       and exists (
         select from instances o join machines m on m.id = o.machine_id
         where o.id <> i.id and ($2 = 'instance' or o.machine_id <> i.machine_id)
           and o.declared and o.state = 'healthy' and not o.cordoned and m.state = 'online'
           and coalesce(o.quarantined_until < now(), true))
     returning i.id, i.machine_id as "machineId", i.name`,
    [instanceId, quarantine.scope, quarantine.forMs, quarantine.reason, quarantine.earlier],
  );
  return rows;
}
