import { tryAdvisoryLock } from "../platform/advisory-lock.ts";
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

/** What transitions say about counts: one more where jobs went, one less where they came from. */
const MOVES = `select owner, to_state as state, to_held as held, to_ended_at as ended_at, jobs
  from %from% where to_state is not null
  union all
  select owner, from_state, from_held, from_ended_at, -jobs
  from %from% where from_state is not null`;
const movesOf = (from: string): string => MOVES.replaceAll("%from%", from);

const COUNTS = statement(
  "jobs.counts",
  `select owner, state, held, sum(jobs)::bigint as jobs
   from (
     select owner, state, held, jobs from job_counts
     union all
     select owner, state, held, jobs from (${movesOf("job_transitions")}) as m
   ) as c
   where $1::text is null or owner = $1
   group by owner, state, held having sum(jobs) <> 0`,
);

/** Counts by caller and state, of one caller or of all; the same time at ten jobs and at a million. */
export async function readCounts(db: Queryable, owner: string | null): Promise<JobCount[]> {
  const { rows } = await db.query<JobCount & Record<string, unknown>>(COUNTS, [owner]);
  return rows;
}

const REMOVED = statement(
  "jobs.removed",
  `select coalesce(sum(jobs), 0)::bigint as jobs
   from (
     select owner, jobs from removed_job_counts
     union all
     select owner, jobs from job_transitions where to_state is null
   ) as r
   where $1::text is null or owner = $1`,
);

/** How many jobs of one caller or of all are not there any more. */
export async function readRemovedCount(db: Queryable, owner: string | null): Promise<number> {
  const { rows } = await db.query<{ jobs: number }>(REMOVED, [owner]);
  return rows[0]?.jobs ?? 0;
}

/** How many jobs ended lately, and are still as that end left them. */
export interface RecentEnds {
  readonly completed: number;
  readonly failed: number;
}

const RECENT_ENDS = statement(
  "jobs.recent_ends",
  `select
     coalesce(sum(jobs) filter (where state = 'completed'), 0)::bigint as completed,
     coalesce(sum(jobs) filter (where state in ('failed', 'timeout')), 0)::bigint as failed
   from (
     select owner, state, minute, jobs from job_end_counts
     union all
     select owner, state, date_trunc('minute', ended_at), jobs
     from (${movesOf("job_transitions")}) as m where ended_at is not null
   ) as e
   where minute > now() - make_interval(secs => $2::float8 / 1000)
     and ($1::text is null or owner = $1)`,
);

/** Counts the ends in the minutes that began within this time, two hours at most. */
export async function readRecentEnds(
  db: Queryable,
  owner: string | null,
  withinMs: number,
): Promise<RecentEnds> {
  const { rows } = await db.query<RecentEnds & Record<string, unknown>>(RECENT_ENDS, [
    owner,
    withinMs,
  ]);
  return rows[0] ?? { completed: 0, failed: 0 };
}

/** How jobs ended in one minute, and are still as that end left them; over all callers. */
export interface EndsOfMinute extends RecentEnds {
  /** Epoch ms of its beginning. */
  readonly minuteAt: number;
}

const ENDS_BY_MINUTE = statement(
  "jobs.ends_by_minute",
  `select minute as "minuteAt",
     coalesce(sum(jobs) filter (where state = 'completed'), 0)::bigint as completed,
     coalesce(sum(jobs) filter (where state in ('failed', 'timeout')), 0)::bigint as failed
   from (
     select state, minute, jobs from job_end_counts
     union all
     select state, date_trunc('minute', ended_at), jobs
     from (${movesOf("job_transitions")}) as m where ended_at is not null
   ) as e
   where minute > now() - interval '2 hours'
   group by minute having sum(jobs) > 0 order by minute`,
);

/** The ends of every minute of the last two hours that had any. */
export async function readEndsByMinute(db: Queryable): Promise<EndsOfMinute[]> {
  const { rows } = await db.query<EndsOfMinute & Record<string, unknown>>(ENDS_BY_MINUTE);
  return rows;
}

/** The advisory lock under which transitions are folded. */
const FOLD_LOCK = 4_801_330;

/** Takes the folding lock for this transaction; false when another replica folds. */
export async function tryLockFolding(tx: Transaction): Promise<boolean> {
  return await tryAdvisoryLock(tx, FOLD_LOCK);
}

const FOLD = statement(
  "jobs.fold_transitions",
  `with taken as (
     delete from job_transitions
     where ctid = any (array(select ctid from job_transitions limit $1)) returning *
   ),
   moves as (${movesOf("taken")}),
   counted as (
     insert into job_counts as c (owner, state, held, jobs)
     select owner, state, held, sum(jobs) from moves
     group by owner, state, held having sum(jobs) <> 0
     on conflict (owner, state, held) do update set jobs = c.jobs + excluded.jobs
   ),
   gone as (
     insert into removed_job_counts as r (owner, jobs)
     select owner, sum(jobs) from taken where to_state is null group by owner
     on conflict (owner) do update set jobs = r.jobs + excluded.jobs
   ),
   ended as (
     insert into job_end_counts as e (owner, minute, state, jobs)
     select owner, date_trunc('minute', ended_at), state, sum(jobs) from moves
     where ended_at > now() - interval '2 hours' group by 1, 2, 3 having sum(jobs) <> 0
     on conflict (owner, minute, state) do update set jobs = e.jobs + excluded.jobs
   )
   select count(*)::int as folded from taken`,
);

/** Moves at most `limit` transitions into the counts; returns how many. Needs the folding lock. */
export async function foldTransitions(tx: Transaction, limit: number): Promise<number> {
  const { rows } = await tx.query<{ folded: number }>(FOLD, [limit]);
  return rows[0]?.folded ?? 0;
}

/** Removes the counts of minutes that nobody asks for any more; returns how many rows. */
export async function pruneEndCounts(db: Queryable): Promise<number> {
  const { rowCount } = await db.query(
    "delete from job_end_counts where minute < now() - interval '2 hours 2 minutes'",
  );
  return rowCount;
}

/** Makes the room of folded transitions usable again. Not inside a transaction. */
export async function vacuumTransitions(db: Queryable): Promise<void> {
  await db.query("vacuum job_transitions");
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

const OLDEST_QUEUED = `select (extract(epoch from now() - created_at) * 1000)::bigint as "ageMs"
  from jobs where state = 'queued' and not held`;
// Two texts: one plan for both would look for a caller's oldest job among everybody's.
const OLDEST_QUEUED_OF_ALL = statement(
  "jobs.oldest_queued",
  `${OLDEST_QUEUED} order by id limit 1`,
);
const OLDEST_QUEUED_OF_ONE = statement(
  "jobs.oldest_queued_of_one",
  `${OLDEST_QUEUED} and owner = $1 order by id limit 1`,
);

/** The age of the oldest job that waits and is not held; null when none does. */
export async function readOldestQueuedAgeMs(
  db: Queryable,
  owner: string | null,
): Promise<number | null> {
  const { rows } = await (owner === null
    ? db.query<{ ageMs: number }>(OLDEST_QUEUED_OF_ALL)
    : db.query<{ ageMs: number }>(OLDEST_QUEUED_OF_ONE, [owner]));
  return rows[0]?.ageMs ?? null;
}
