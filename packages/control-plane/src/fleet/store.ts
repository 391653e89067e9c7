/** Machines of the fleet, in SQL. Whatever the leader writes names its epoch. */
import type { FailureKind, FleetMachineState, MachineOffer, ProviderKind } from "@holdfast/fleet";
import { statement, toJson, toTimestamp, type Queryable } from "../platform/db.ts";
import { leadsBy } from "./lead-store.ts";
import { LeadLost, type EndRequest, type StoredMachine } from "./model.ts";

interface MachineRow {
  readonly id: string;
  readonly name: string;
  readonly pool: string;
  readonly provider: ProviderKind;
  readonly state: FleetMachineState;
  readonly ref: string | null;
  readonly offer: MachineOffer | null;
  readonly offer_index: number;
  readonly price_per_hour: number | null;
  readonly asked_at: number;
  readonly asked_count: number;
  readonly unsure_until: number | null;
  readonly next_ask_at: number;
  readonly created_at: number | null;
  readonly healthy_at: number | null;
  readonly draining_since: number | null;
  readonly ended_at: number | null;
  readonly end_cause: "failed" | "intended" | null;
  readonly end_kind: FailureKind | null;
  readonly end_reason: string | null;
  readonly terminated_at: number | null;
  readonly address: string | null;
  readonly machine_id: string | null;
  readonly forced_by: string | null;
  readonly trouble: string | null;
  readonly end_request: EndRequest | null;
}

function toMachine(row: MachineRow): StoredMachine {
  return {
    id: row.id,
    name: row.name,
    pool: row.pool,
    provider: row.provider,
    state: row.state,
    ref: row.ref,
    offer: row.offer,
    offerIndex: row.offer_index,
    pricePerHour: row.price_per_hour,
    askedAt: row.asked_at,
    askedCount: row.asked_count,
    unsureUntil: row.unsure_until,
    nextAskAt: row.next_ask_at,
    createdAt: row.created_at,
    healthyAt: row.healthy_at,
    drainingSince: row.draining_since,
    end:
      row.ended_at === null || row.end_cause === null
        ? null
        : {
            at: row.ended_at,
            cause: row.end_cause,
            kind: row.end_kind,
            reason: row.end_reason ?? "",
          },
    terminatedAt: row.terminated_at,
    machineId: row.machine_id,
    address: row.address,
    forcedBy: row.forced_by,
    trouble: row.trouble,
    endRequest: row.end_request,
  };
}

/** Machines that are kept in the window of the breaker and not ended, at most. */
export const MACHINES_MAX = 20_000;

const LIVING = statement(
  "fleet.living",
  "select * from fleet_machines where state <> 'ended' order by id limit $1",
);

/** All that have not ended. */
export async function readLiving(db: Queryable): Promise<StoredMachine[]> {
  const { rows } = await db.query<MachineRow>(LIVING, [MACHINES_MAX]);
  return rows.map(toMachine);
}

/** Those that ended after an instant, the last one first. */
export async function readEnded(
  db: Queryable,
  after: number,
  limit = MACHINES_MAX,
): Promise<StoredMachine[]> {
  const { rows } = await db.query<MachineRow>(
    `select * from fleet_machines where ended_at > $1::timestamptz and state = 'ended'
     order by ended_at desc limit $2`,
    [toTimestamp(after), limit],
  );
  return rows.map(toMachine);
}

/** Those of these ids, in the order of the ids. */
export async function readMachines(
  db: Queryable,
  ids: readonly string[],
): Promise<StoredMachine[]> {
  const { rows } = await db.query<MachineRow>(
    "select * from fleet_machines where id = any($1) order by id",
    [[...ids]],
  );
  return rows.map(toMachine);
}

/** One by its id or name. */
export async function findMachine(db: Queryable, ref: string): Promise<StoredMachine | undefined> {
  const { rows } = await db.query<MachineRow>(
    "select * from fleet_machines where id = $1 or name = $1 order by id desc limit 1",
    [ref],
  );
  return rows[0] === undefined ? undefined : toMachine(rows[0]);
}

/** Which of these names were ever asked for: machines that somebody else started are not among them. */
export async function readKnownNames(
  db: Queryable,
  names: readonly string[],
): Promise<ReadonlySet<string>> {
  const { rows } = await db.query<{ name: string }>(
    "select name from fleet_machines where name = any($1) and provider <> 'static'",
    [[...names]],
  );
  return new Set(rows.map(({ name }) => name));
}

/** Machines that are lost because they have ended here: nobody waits for their heartbeats. */
export async function countEndedAgents(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ machines: number }>(
    `select count(*)::int as machines from machines m
     where m.state = 'lost' and exists (
       select 1 from fleet_machines f where f.machine_id = m.id and f.state = 'ended')`,
  );
  return rows[0]?.machines ?? 0;
}

/** Columns of a machine, as values of a statement from `$2` on. */
const COLUMNS = [
  "name",
  "pool",
  "provider",
  "state",
  "ref",
  "offer",
  "offer_index",
  "price_per_hour",
  "asked_at",
  "asked_count",
  "unsure_until",
  "next_ask_at",
  "created_at",
  "healthy_at",
  "draining_since",
  "ended_at",
  "end_cause",
  "end_kind",
  "end_reason",
  "terminated_at",
  "address",
  "machine_id",
  "forced_by",
  "trouble",
] as const;

function toValues(one: StoredMachine): readonly unknown[] {
  return [
    one.name,
    one.pool,
    one.provider,
    one.state,
    one.ref,
    one.offer === null ? null : toJson(one.offer),
    one.offerIndex,
    one.pricePerHour,
    toTimestamp(one.askedAt),
    one.askedCount,
    toTimestamp(one.unsureUntil),
    toTimestamp(one.nextAskAt),
    toTimestamp(one.createdAt),
    toTimestamp(one.healthyAt),
    toTimestamp(one.drainingSince),
    toTimestamp(one.end?.at),
    one.end?.cause ?? null,
    one.end?.kind ?? null,
    one.end?.reason ?? null,
    toTimestamp(one.terminatedAt),
    one.address,
    one.machineId,
    one.forcedBy,
    one.trouble,
  ];
}

const PLACES = COLUMNS.map((_, index) => `$${index + 3}`).join(", ");
const LEADS = leadsBy("$2");

/** Writes a new machine down. Throws {@link LeadLost}. */
export async function insertMachine(
  db: Queryable,
  epoch: number,
  machine: StoredMachine,
): Promise<void> {
  const { rows } = await db.query(
    `insert into fleet_machines (id, ${COLUMNS.join(", ")})
     select $1, ${PLACES.replaceAll(/\$(\d+)/g, (place, number: string) => `${place}::${TYPES[Number(number) - 3]}`)}
     where ${LEADS} returning id`,
    [machine.id, epoch, ...toValues(machine)],
  );
  if (rows.length === 0) throw new LeadLost();
}

/** Writes a machine down that a person wants; the leader asks its provider for it. */
export async function insertForced(db: Queryable, machine: StoredMachine): Promise<void> {
  await db.query(
    `insert into fleet_machines (id, ${COLUMNS.join(", ")})
     values ($1, ${COLUMNS.map((_, index) => `$${index + 2}::${TYPES[index]}`).join(", ")})`,
    [machine.id, ...toValues(machine)],
  );
}

/** Records that a machine is to end; false when it is not there, or ends already. */
export async function requestEnd(db: Queryable, id: string, request: EndRequest): Promise<boolean> {
  const { rows } = await db.query(
    `update fleet_machines set end_request = $2
     where id = $1 and state not in ('ending', 'ended') and provider <> 'static' returning id`,
    [id, toJson(request)],
  );
  return rows.length > 0;
}

/** A page of machines, newest first; those that ended among them. */
export async function listMachines(
  db: Queryable,
  page: { readonly before: string | null; readonly limit: number; readonly isLiving: boolean },
): Promise<StoredMachine[]> {
  const { rows } = await db.query<MachineRow>(
    `select * from fleet_machines
     where ($1::text is null or id < $1) and (not $3 or state <> 'ended')
     order by id desc limit $2`,
    [page.before, page.limit, page.isLiving],
  );
  return rows.map(toMachine);
}

const TYPES: readonly string[] = COLUMNS.map((column) => {
  if (column === "offer") return "jsonb";
  if (column === "offer_index" || column === "asked_count") return "int";
  if (column === "price_per_hour") return "float8";
  return /_at$|_until$|_since$/.test(column) ? "timestamptz" : "text";
});

/**
 * Writes a machine in the place of what it was, `from` being the state that it was in. Throws
 * {@link LeadLost} where that is not so any more.
 */
export async function updateMachine(
  db: Queryable,
  epoch: number,
  machine: StoredMachine,
  from: FleetMachineState,
): Promise<void> {
  const sets = COLUMNS.map((column, index) => `${column} = $${index + 3}`).join(", ");
  const { rows } = await db.query(
    `update fleet_machines set ${sets}
     where id = $1 and state = $${COLUMNS.length + 3} and ${LEADS} returning id`,
    [machine.id, epoch, ...toValues(machine), from],
  );
  if (rows.length === 0) throw new LeadLost();
}

/** Removes machines that ended long ago; returns how many. */
export async function deleteOldMachines(
  db: Queryable,
  keptMs: number,
  limit: number,
): Promise<number> {
  const { rows } = await db.query(
    `delete from fleet_machines where id in (
       select id from fleet_machines
       where state = 'ended' and ended_at < now() - make_interval(secs => $1::float8 / 1000)
       limit $2)
     returning id`,
    [keptMs, limit],
  );
  return rows.length;
}

/**
 * Which of these agents' machines the fleet's leader has seen to end, or is ending: the last heartbeat of one that
 * was killed is believed for a while elsewhere. One that was found anew since is there again.
 */
export async function readEndedMachines(
  db: Queryable,
  machineIds: readonly string[],
): Promise<ReadonlySet<string>> {
  if (machineIds.length === 0) return new Set();
  const { rows } = await db.query<{ readonly id: string }>(
    `select id from (
       select m.id, f.state from machines m
       join fleet_machines f on f.machine_id = m.id
       where m.id = any($1)
       union all
       select m.id, f.state from machines m
       join fleet_machines f on f.name = m.name and f.provider <> 'static'
       where m.id = any($1)) as fates
     group by id having bool_and(state in ('ending', 'ended'))`,
    [[...new Set(machineIds)]],
  );
  return new Set(rows.map(({ id }) => id));
}
