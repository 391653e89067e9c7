import type { Queryable, Transaction } from "../platform/db.ts";
import { statement } from "../platform/db.ts";
import type { JobState } from "./model.ts";

/** How many jobs of a caller are in a state. */
export interface JobCount {
  readonly owner: string;
  readonly state: JobState;
  readonly held: boolean;
  readonly jobs: number;
}

const COUNTS = statement(
  "jobs.counts",
  `select owner, state, held, sum(jobs)::bigint as jobs
   from (
     select owner, state, held, jobs from job_counts
     union all
     select owner, state, held, jobs from job_count_deltas
   ) as c
   where $1::text is null or owner = $1
   group by owner, state, held having sum(jobs) <> 0`,
);

/** Counts by caller and state, of one caller or of all; the same time at ten jobs and at a million. */
export async function readCounts(db: Queryable, owner: string | null): Promise<JobCount[]> {
  const { rows } = await db.query<JobCount & Record<string, unknown>>(COUNTS, [owner]);
  return rows;
}

/** The advisory lock under which deltas are folded. */
const FOLD_LOCK = 4_801_330;

/** Takes the folding lock for this transaction; false when another replica folds. */
export async function tryLockFolding(tx: Transaction): Promise<boolean> {
  const { rows } = await tx.query<{ locked: boolean }>(
    "select pg_try_advisory_xact_lock($1) as locked",
    [FOLD_LOCK],
  );
  return rows[0]?.locked === true;
}

/** Moves at most `limit` deltas into the counts; returns how many. Needs the folding lock. */
export async function foldDeltas(tx: Transaction, limit: number): Promise<number> {
  const { rows } = await tx.query<{ folded: number }>(
    `with taken as (
       delete from job_count_deltas where id in (
         select id from job_count_deltas order by id limit $1)
       returning owner, state, held, jobs
     ),
     added as (
       insert into job_counts as c (owner, state, held, jobs)
       select owner, state, held, sum(jobs) from taken group by owner, state, held
       on conflict (owner, state, held) do update set jobs = c.jobs + excluded.jobs
     )
     select count(*)::int as folded from taken`,
    [limit],
  );
  return rows[0]?.folded ?? 0;
}

/** Jobs that wait again after an attempt, counted up to `limit`. */
export async function countWaitingAgain(
  db: Queryable,
  owner: string | null,
  limit: number,
): Promise<number> {
  const { rows } = await db.query<{ jobs: number }>(
    `select count(*)::int as jobs from (
       select 1 from jobs where state = 'queued' and attempt_count > 0
         and ($1::text is null or owner = $1) limit $2) as j`,
    [owner, limit],
  );
  return rows[0]?.jobs ?? 0;
}

/** Facts about the queue's pace. */
export interface QueuePace {
  readonly oldestQueuedAgeMs: number | null;
  readonly completedLastHour: number;
  readonly failedLastHour: number;
}

/** The age of the oldest job that waits and is not held, and what ended in the last hour. */
export async function readPace(db: Queryable, owner: string | null): Promise<QueuePace> {
  const { rows } = await db.query<QueuePace & Record<string, unknown>>(
    `select
       (select (extract(epoch from now() - created_at) * 1000)::bigint from jobs
        where state = 'queued' and not held and ($1::text is null or owner = $1)
        order by id limit 1) as "oldestQueuedAgeMs",
       count(*) filter (where state = 'completed')::int as "completedLastHour",
       count(*) filter (where state in ('failed', 'timeout'))::int as "failedLastHour"
     from jobs
     where ended_at > now() - interval '1 hour' and ($1::text is null or owner = $1)`,
    [owner],
  );
  return rows[0] ?? { oldestQueuedAgeMs: null, completedLastHour: 0, failedLastHour: 0 };
}
