/** What people have set, where the breaker stands, and how pools are, in SQL. */
import type { BreakerMemory, PoolDecision } from "@holdfast/fleet";
import { toJson, toTimestamp, type Queryable } from "../platform/db.ts";
import { leadsBy } from "./lead-store.ts";
import { PAUSES_MAX } from "./levers.ts";
import { LeadLost, type Lever, type LeverKind, type StoredPool } from "./model.ts";

interface LeverRow {
  readonly id: string;
  readonly kind: LeverKind;
  readonly value: unknown;
  readonly reason: string;
  readonly made_by: string;
  readonly made_at: number;
  readonly undone_by: string | null;
  readonly undone_at: number | null;
  readonly undone_reason: string | null;
}

function toLever(row: LeverRow): Lever {
  return {
    id: row.id,
    kind: row.kind,
    value: row.value,
    reason: row.reason,
    madeBy: row.made_by,
    madeAt: row.made_at,
    undoneBy: row.undone_by,
    undoneAt: row.undone_at,
    undoneReason: row.undone_reason,
  };
}

/** A request that may be sent again: its key, what it stands for, and what came of it. */
export interface StoredRequest {
  readonly key: string;
  readonly hash: string;
  readonly machineIds: readonly string[];
}

/** Records a lever; it is in force from now on. */
export async function insertLever(
  db: Queryable,
  lever: Pick<Lever, "id" | "kind" | "value" | "reason" | "madeBy"> & {
    readonly request: StoredRequest | null;
  },
): Promise<Lever> {
  const { id, kind, value, reason, madeBy, request } = lever;
  const { rows } = await db.query<LeverRow>(
    `insert into fleet_levers
       (id, kind, value, reason, made_by, request_key, request_hash, machine_ids)
     values ($1, $2, $3, $4, $5, $6, $7, $8::text[]) returning *`,
    [
      id,
      kind,
      toJson(value),
      reason,
      madeBy,
      request?.key ?? null,
      request?.hash ?? null,
      request === null ? null : [...request.machineIds],
    ],
  );
  const row = rows[0];
  if (row === undefined) throw new Error("an insert of a lever returned no row");
  return toLever(row);
}

/** What somebody asked for under a key before; undefined when nothing. */
export async function findRequest(
  db: Queryable,
  madeBy: string,
  key: string,
): Promise<Omit<StoredRequest, "key"> | undefined> {
  const { rows } = await db.query<{ hash: string; machine_ids: string[] }>(
    `select request_hash as hash, machine_ids from fleet_levers
     where made_by = $1 and request_key = $2`,
    [madeBy, key],
  );
  const row = rows[0];
  return row === undefined ? undefined : { hash: row.hash, machineIds: row.machine_ids };
}

/**
 * Undoes a lever; undefined when there is none, or it was undone before. Machines that a person started
 * are there: they are ended, not undone.
 */
export async function undoLever(
  db: Queryable,
  id: string,
  { by, reason }: { readonly by: string; readonly reason: string | undefined },
): Promise<Lever | undefined> {
  const { rows } = await db.query<LeverRow>(
    `update fleet_levers set undone_by = $2, undone_at = now(), undone_reason = $3
     where id = $1 and undone_at is null and kind <> 'force' returning *`,
    [id, by, reason ?? null],
  );
  return rows[0] === undefined ? undefined : toLever(rows[0]);
}

/**
 * Of each kind the newest that is not undone; the clear that reaches furthest, for a later one must not
 * bring failures back; every pause, for each has its own reason, and the fleet goes on when all are undone.
 */
export async function readLeversInForce(db: Queryable): Promise<Lever[]> {
  const { rows } = await db.query<LeverRow>(
    `(select distinct on (kind) * from fleet_levers
        where undone_at is null and kind in ('minimum', 'threshold', 'window')
        order by kind, id desc)
     union all
     (select * from fleet_levers where undone_at is null and kind = 'clear'
        order by value::float8 desc, id desc limit 1)
     union all
     (select * from fleet_levers where undone_at is null and kind = 'pause'
        order by id desc limit $1)`,
    [PAUSES_MAX],
  );
  return rows.map(toLever);
}

/** All, newest first. */
export async function listLevers(
  db: Queryable,
  page: { readonly before: string | null; readonly limit: number },
): Promise<Lever[]> {
  const { rows } = await db.query<LeverRow>(
    `select * from fleet_levers where $1::text is null or id < $1 order by id desc limit $2`,
    [page.before, page.limit],
  );
  return rows.map(toLever);
}

/** Where the breaker stood at the last look; null before the first. */
export async function readBreaker(db: Queryable): Promise<BreakerMemory | null> {
  const { rows } = await db.query<{ memory: Omit<BreakerMemory, "lookedAt">; looked_at: number }>(
    "select memory, looked_at from fleet_breaker",
  );
  const row = rows[0];
  return row === undefined ? null : { ...row.memory, lookedAt: row.looked_at };
}

/** Keeps where the breaker stands. Throws {@link LeadLost}. */
export async function writeBreaker(
  db: Queryable,
  epoch: number,
  { lookedAt, ...memory }: BreakerMemory,
): Promise<void> {
  const { rows } = await db.query(
    `insert into fleet_breaker (memory, looked_at)
     select $2::jsonb, $3::timestamptz
     where ${leadsBy("$1")}
     on conflict (only_one) do update set memory = excluded.memory, looked_at = excluded.looked_at
     returning looked_at`,
    [epoch, toJson(memory), toTimestamp(lookedAt)],
  );
  if (rows.length === 0) throw new LeadLost();
}

interface PoolRow {
  readonly name: string;
  readonly blocked_until: number | null;
  readonly reason: string | null;
  readonly block_kind: StoredPool["blockKind"];
  readonly failures: number;
  readonly decision: PoolDecision | null;
}

/** Pools as the leader has left them. */
export async function readPools(db: Queryable): Promise<StoredPool[]> {
  const { rows } = await db.query<PoolRow>("select * from fleet_pools");
  return rows.map(({ name, blocked_until, reason, block_kind, failures, decision }) => ({
    name,
    blockedUntil: blocked_until,
    reason,
    blockKind: block_kind,
    failures,
    decision,
  }));
}

/** Keeps how a pool is. Throws {@link LeadLost}. */
export async function writePool(db: Queryable, epoch: number, pool: StoredPool): Promise<void> {
  const { rows } = await db.query(
    `insert into fleet_pools (name, blocked_until, reason, failures, decision, block_kind)
     select $2, $3::timestamptz, $4, $5::int, $6::jsonb, $7
     where ${leadsBy("$1")}
     on conflict (name) do update set blocked_until = excluded.blocked_until,
       reason = excluded.reason, failures = excluded.failures, decision = excluded.decision,
       block_kind = excluded.block_kind
     returning name`,
    [
      epoch,
      pool.name,
      toTimestamp(pool.blockedUntil),
      pool.reason,
      pool.failures,
      pool.decision === null ? null : toJson(pool.decision),
      pool.blockKind,
    ],
  );
  if (rows.length === 0) throw new LeadLost();
}

/** What the database's clock says, epoch ms. */
export async function readNow(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ now: number }>("select now() as now");
  const now = rows[0]?.now;
  if (now === undefined) throw new Error("the database told no time");
  return now;
}

/** Which database this is: a copy of it elsewhere is another one. Null where that is not told. */
async function readSystem(db: Queryable): Promise<string | null> {
  try {
    const { rows } = await db.query<{ system: string }>(
      "select system_identifier || '/' || current_database() as system from pg_control_system()",
    );
    return rows[0]?.system ?? null;
  } catch {
    return null; // Not every account may ask.
  }
}

/**
 * What tells this installation's machines from another one's; made by the first who asks. A database
 * that was copied to another cluster has machines of its own from then on: it would else end those of
 * the original. `was` is what it was called before such a move.
 */
export async function readInstallation(
  db: Queryable,
  fresh: string,
): Promise<{ readonly suffix: string; readonly was: string | null }> {
  const system = await readSystem(db);
  await db.query(
    "insert into fleet_identity (suffix, system) values ($1, $2) on conflict do nothing",
    [fresh, system],
  );
  const { rows } = await db.query<{ suffix: string; system: string | null }>(
    "select suffix, system from fleet_identity",
  );
  const known = rows[0];
  if (known === undefined) throw new Error("the fleet has no identity");
  if (system === null || known.system === null || known.system === system) {
    return { suffix: known.suffix, was: null };
  }
  await db.query("update fleet_identity set suffix = $1, system = $2 where system = $3", [
    fresh,
    system,
    known.system,
  ]);
  const { rows: now } = await db.query<{ suffix: string }>("select suffix from fleet_identity");
  return { suffix: now[0]?.suffix ?? fresh, was: known.suffix };
}
