/** Whose turn it is to evaluate, and what the last one saw, in SQL. */
import { tryAdvisoryLock } from "../platform/advisory-lock.ts";
import { toJson, toTimestamp, type Queryable, type Transaction } from "../platform/db.ts";

/** The advisory lock under which rules are evaluated: one replica at a time (A1). */
const EVALUATION_LOCK = 4_801_340;

/** What the last evaluation saw. */
export interface LastEvaluation {
  readonly evaluatedAt: number;
  readonly told: readonly string[];
  readonly omitted: Readonly<Record<string, number>>;
}

/**
 * Takes this replica's turn until the transaction ends. False when another one is at it, or was less
 * than `restMs` ago.
 */
export async function takeTurn(
  tx: Transaction,
  restMs: number,
  nowMs: number | null,
): Promise<boolean> {
  if (!(await tryAdvisoryLock(tx, EVALUATION_LOCK))) return false;
  const { rows } = await tx.query(
    `select from alert_evaluation
     where evaluated_at > coalesce($1::timestamptz, clock_timestamp()) - make_interval(secs => $2)`,
    [toTimestamp(nowMs), restMs / 1_000],
  );
  return rows.length === 0;
}

/**
 * The instant of an evaluation: the database's clock, which every replica goes by, and never before
 * that of the last one.
 */
export async function readInstant(tx: Queryable, nowMs: number | null): Promise<number> {
  const { rows } = await tx.query<{ at: number }>(
    `select greatest(coalesce($1::timestamptz, clock_timestamp()),
       (select max(evaluated_at) from alert_evaluation)) as at`,
    [toTimestamp(nowMs)],
  );
  const at = rows[0]?.at;
  if (at === undefined) throw new Error("the database told no time");
  return at;
}

/** Writes what an evaluation saw. */
export async function writeEvaluation(tx: Queryable, seen: LastEvaluation): Promise<void> {
  await tx.query(
    `insert into alert_evaluation (evaluated_at, told, omitted) values ($1, $2, $3)
     on conflict (is_only) do update set evaluated_at = excluded.evaluated_at,
       told = excluded.told, omitted = excluded.omitted`,
    [toTimestamp(seen.evaluatedAt), seen.told, toJson(seen.omitted)],
  );
}

/** What the last evaluation saw; undefined before the first. */
export async function readEvaluation(db: Queryable): Promise<LastEvaluation | undefined> {
  const { rows } = await db.query<LastEvaluation & Record<string, unknown>>(
    `select evaluated_at as "evaluatedAt", told, omitted from alert_evaluation`,
  );
  return rows[0];
}

/** How jobs ended in a quarter of an hour that is over. */
export interface QuarterEnds {
  /** Epoch ms of its beginning. */
  readonly quarterAt: number;
  readonly completed: number;
  readonly failed: number;
}

/** Writes quarters that are over; one that is known is written again, as its jobs may have changed. */
export async function putJobEnds(db: Queryable, quarters: readonly QuarterEnds[]): Promise<void> {
  if (quarters.length === 0) return;
  await db.query(
    `insert into alert_job_ends as e (quarter, completed, failed)
     select * from unnest($1::timestamptz[], $2::bigint[], $3::bigint[])
     on conflict (quarter) do update set completed = excluded.completed, failed = excluded.failed
     where (e.completed, e.failed) <> (excluded.completed, excluded.failed)`,
    [
      quarters.map(({ quarterAt }) => toTimestamp(quarterAt)),
      quarters.map(({ completed }) => completed),
      quarters.map(({ failed }) => failed),
    ],
  );
}

/** Quarters from an instant on. */
export async function selectJobEnds(db: Queryable, fromMs: number): Promise<QuarterEnds[]> {
  const { rows } = await db.query<QuarterEnds & Record<string, unknown>>(
    `select quarter as "quarterAt", completed, failed from alert_job_ends
     where quarter >= $1 order by quarter`,
    [toTimestamp(fromMs)],
  );
  return rows;
}

/** Forgets quarters before an instant. */
export async function pruneJobEnds(db: Queryable, beforeMs: number): Promise<void> {
  await db.query("delete from alert_job_ends where quarter < $1", [toTimestamp(beforeMs)]);
}
