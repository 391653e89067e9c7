import { statement, type Queryable } from "../platform/db.ts";

/** Attempts that are looked at, the newest first. */
const ATTEMPTS_SEEN = 500;

const RECENT_JOB_MS = statement(
  "scheduler.recent_job_ms",
  `select avg(extract(epoch from ended_at - started_at) * 1000)::float8 as ms
   from (select outcome, started_at, ended_at from attempts order by id desc limit $1) a
   where outcome = 'succeeded' and started_at is not null`,
);

/** What a job took an instance lately, ms on average; null when none was completed among the newest. */
export async function readRecentJobMs(db: Queryable): Promise<number | null> {
  const { rows } = await db.query<{ ms: number | null }>(RECENT_JOB_MS, [ATTEMPTS_SEEN]);
  return rows[0]?.ms ?? null;
}
