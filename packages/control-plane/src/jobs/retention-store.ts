import { tryAdvisoryLock } from "../platform/advisory-lock.ts";
import { toTimestamp, type Queryable, type Transaction } from "../platform/db.ts";
import type { RemovalRule } from "./retention.ts";

/** The advisory lock under which ended jobs are removed: one at a time over all replicas. */
const REMOVAL_LOCK = 4_801_331;

/** Takes the removal lock for this transaction; false when somebody else has it. */
export async function tryLockRemoval(tx: Transaction): Promise<boolean> {
  return await tryAdvisoryLock(tx, REMOVAL_LOCK);
}

/** Which jobs a batch removes. Instants in epoch ms. */
export interface RemovalBatch extends RemovalRule {
  /** None that ended from then on, whatever its rule says: events may still have to be read. */
  readonly before: number | null;
  /** Those that ended before were looked at by an earlier batch. */
  readonly from: number | null;
  readonly limit: number;
}

/** What a batch removed. */
export interface RemovedBatch {
  readonly jobs: number;
  readonly attempts: number;
  readonly outputs: number;
  /** When the last of them ended, in epoch ms; null when there was none. */
  readonly lastEndedAt: number | null;
}

// Not a named statement: a plan made for any limit would read the tables as a whole. Attempts and
// outputs go by this statement, and not by their foreign keys, so that they are counted.
const REMOVE = `with due as materialized (
    select id from jobs
    where state = $1 and ended_at is not null
      and ended_at < least(now() - make_interval(secs => $2::float8 / 1000), $3::timestamptz)
      and ended_at >= coalesce($4::timestamptz, '-infinity')
      -- A book's pages stay together as long as it is rendered, and then as long as any job would.
      and not exists (select from batches b where b.id = jobs.batch_id and b.removed_at is null
        and (b.ended_at is null
          or b.ended_at >= now() - make_interval(secs => $2::float8 / 1000)))
    order by ended_at limit $5 for update skip locked
  ),
  tried as (delete from attempts a using due where a.job_id = due.id returning 1),
  given as (delete from outputs o using due where o.job_id = due.id returning 1),
  gone as (delete from jobs j using due where j.id = due.id returning j.ended_at)
  select (select count(*)::int from gone) as jobs, (select count(*)::int from tried) as attempts,
    (select count(*)::int from given) as outputs, (select max(ended_at) from gone) as "lastEndedAt"`;

/**
 * Removes the jobs in one state that ended longest ago, with their attempts and outputs. A job that
 * somebody has locked (a retry, say) is left for another time; one that was retried meanwhile has
 * not ended any more.
 */
export async function removeEndedJobs(tx: Transaction, batch: RemovalBatch): Promise<RemovedBatch> {
  const { rows } = await tx.query<RemovedBatch & Record<string, unknown>>(REMOVE, [
    batch.state,
    batch.olderThanMs,
    toTimestamp(batch.before),
    toTimestamp(batch.from),
    batch.limit,
  ]);
  return rows[0] ?? { jobs: 0, attempts: 0, outputs: 0, lastEndedAt: null };
}

/** Tables that jobs share rows of, and the column by which a job names one. */
const SHARED = { graphs: "graph_id", requirements: "requirement_id" } as const;
/** One of the tables that jobs share rows of. */
export type SharedTable = keyof typeof SHARED;

/** Rows looked at: how far, and which of them no job names. */
export interface UnnamedRows {
  readonly ids: readonly number[];
  /** The last row looked at; undefined at the end of the table. */
  readonly last: number | undefined;
}

/** Looks at the next `limit` rows after an id for those that no job names. */
export async function readUnnamed(
  db: Queryable,
  table: SharedTable,
  after: number,
  limit: number,
): Promise<UnnamedRows> {
  const { rows } = await db.query<{ id: number; isNamed: boolean }>(
    `select s.id, exists (select from jobs j where j.${SHARED[table]} = s.id) as "isNamed"
     from (select id from ${table} where id > $1 order by id limit $2) s order by s.id`,
    [after, limit],
  );
  return {
    ids: rows.filter((row) => !row.isNamed).map((row) => row.id),
    last: rows.length === limit ? rows.at(-1)?.id : undefined,
  };
}

/**
 * Locks those rows that nobody else has locked; a submit that is about to name one has. Whoever
 * comes after waits, and finds the row gone.
 */
export async function lockUnnamed(
  tx: Transaction,
  table: SharedTable,
  ids: readonly number[],
): Promise<number[]> {
  const { rows } = await tx.query<{ id: number }>(
    `select id from ${table} where id = any($1::bigint[]) order by id for update skip locked`,
    [ids],
  );
  return rows.map((row) => row.id);
}

/**
 * Removes locked rows that no job names. It must be a statement after the one that locked them: only
 * then it sees the jobs of every submit that came before the lock.
 */
export async function removeUnnamed(
  tx: Transaction,
  table: SharedTable,
  ids: readonly number[],
): Promise<number> {
  const { rowCount } = await tx.query(
    `delete from ${table} s where s.id = any($1::bigint[])
       and not exists (select from jobs j where j.${SHARED[table]} = s.id)`,
    [ids],
  );
  return rowCount;
}
