import { tryAdvisoryLock } from "../platform/advisory-lock.ts";
import { statement, type Queryable, type Transaction } from "../platform/db.ts";
import {
  DIMENSIONS,
  MAX_KEYS,
  OTHER_KEY,
  type Dimension,
  type ErrorCount,
  type RecoveryStepFacts,
} from "./model.ts";

/** An attempt that failed, for its error event. */
export interface NewErrorEvent {
  readonly attemptId: string;
  readonly jobId: string;
  readonly owner: string;
  readonly class: string;
  readonly strategy: string;
  readonly rung: string;
  readonly nodeType: string | null;
}

const INSERT_EVENT = statement(
  "recovery.insert_error_event",
  `insert into error_events
     (attempt_id, job_id, owner, class, strategy, rung, node_type, machine_id)
   select id, job_id, $2, $3, $4, $5, $6, machine_id from attempts where id = $1
   on conflict (attempt_id) do nothing`,
);

/** Writes an error event; a trigger counts it. In the transaction that ends the attempt. */
export async function insertErrorEvent(tx: Queryable, event: NewErrorEvent): Promise<void> {
  await tx.query(INSERT_EVENT, [
    event.attemptId,
    event.owner,
    event.class,
    event.strategy,
    event.rung,
    event.nodeType,
  ]);
}

/** A job that nobody could serve, and what was done about it; as an error event. */
export type NewUnservedEvent = Pick<
  NewErrorEvent,
  "jobId" | "owner" | "class" | "strategy" | "rung"
> & { readonly id: string };

/** Writes the error event of a job that no attempt was made for. */
export async function insertUnservedEvent(tx: Queryable, event: NewUnservedEvent): Promise<void> {
  await tx.query(
    `insert into error_events (attempt_id, job_id, owner, class, strategy, rung)
     values ($1, $2, $3, $4, $5, $6)`,
    [event.id, event.jobId, event.owner, event.class, event.strategy, event.rung],
  );
}

/** The key of a change in each dimension. Longer names are cut: they come from graphs. */
const KEYS = `(values ('class', %c.class), ('strategy', %c.strategy), ('rung', %c.rung),
  ('node_type', left(%c.node_type, 200)), ('machine', %c.machine_id)) as d (dimension, key)`;
const keysOf = (alias: string): string => KEYS.replaceAll("%c", alias);
/** How often each kind of change occurs. */
const TALLIES = `count(*) filter (where kind = 'error') as errors,
  count(*) filter (where kind = 'recovered') as recovered,
  count(*) filter (where kind = 'failed') as failed,
  count(*) filter (where kind = 'cancelled') as cancelled`;

/** The beginning of a bucket, in seconds since 1970. */
const beginOf = (grain: string, at: string): string =>
  `extract(epoch from date_trunc(${grain}, ${at}))::bigint`;
const bucketOf = (at: string): string =>
  `case $1::text when 'all' then 0 else ${beginOf("$1::text", at)} end`;

const READ_COUNTS = statement(
  "recovery.counts",
  `with since as materialized (
     select case when $2::float8 is null then 0
       else ${bucketOf("now() - make_interval(secs => $2::float8)")} end as at
   )
   select dimension, key, sum(errors)::bigint as errors, sum(recovered)::bigint as recovered,
     sum(failed)::bigint as failed, sum(cancelled)::bigint as cancelled
   from (
     select c.dimension, c.key, c.errors, c.recovered, c.failed, c.cancelled
     from since, error_counts c
     where c.grain = $1 and c.dimension = any($3::text[]) and c.bucket >= since.at
       and ($4::text is null or c.owner = $4)
     union all
     select d.dimension, d.key, ${TALLIES}
     from since, error_changes e cross join lateral ${keysOf("e")}
     where d.dimension = any($3::text[]) and d.key is not null
       and ${bucketOf("e.at")} >= since.at and ($4::text is null or e.owner = $4)
     group by 1, 2
   ) as known
   group by dimension, key`,
);

/**
 * Counts by key of the given dimensions, of one caller or of all, since so many seconds (null: ever),
 * a whole bucket of the grain at least. The same time at ten errors and at a million.
 */
export async function readErrorCounts(
  db: Queryable,
  asked: {
    readonly grain: string;
    readonly seconds: number | null;
    readonly dimensions: readonly Dimension[];
    readonly owner: string | null;
  },
): Promise<ErrorCount[]> {
  const { rows } = await db.query<ErrorCount & Record<string, unknown>>(READ_COUNTS, [
    asked.grain,
    asked.seconds,
    asked.dimensions,
    asked.owner,
  ]);
  return rows;
}

/** The advisory lock under which changes are counted. */
const FOLD_LOCK = 4_801_335;

/** Takes the folding lock for this transaction; false when another replica folds. */
export async function tryLockFolding(tx: Transaction): Promise<boolean> {
  return await tryAdvisoryLock(tx, FOLD_LOCK);
}

const FOLD = statement(
  "recovery.fold_changes",
  `with taken as (
     delete from error_changes
     where ctid = any (array(select ctid from error_changes limit $1)) returning *
   ),
   keyed as materialized (
     select t.owner, t.kind, t.at, d.dimension, d.key
     from taken t cross join lateral ${keysOf("t")} where d.key is not null
   ),
   -- Names of node types come from graphs, and there is no end to them.
   room as materialized (
     select w.owner, w.dimension, (
       select count(*) from error_counts c
       where c.grain = 'all' and c.dimension = w.dimension and c.bucket = 0
         and c.owner = w.owner) < ${MAX_KEYS} as is_left
     from (select distinct owner, dimension from keyed) w
   ),
   named as materialized (
     select k.owner, k.kind, k.at, k.dimension,
       case when room.is_left or exists (
         select from error_counts c
         where c.grain = 'all' and c.dimension = k.dimension and c.bucket = 0
           and c.owner = k.owner and c.key = k.key)
       then k.key else '${OTHER_KEY}' end as key
     from keyed k join room on room.owner = k.owner and room.dimension = k.dimension
   ),
   spread as (
     select 'all' as grain, 0::bigint as bucket, n.* from named n
     union all
     select 'hour', ${beginOf("'hour'", "n.at")}, n.* from named n
     where n.at > now() - interval '8 days'
     union all
     select 'minute', ${beginOf("'minute'", "n.at")}, n.* from named n
     where n.at > now() - interval '2 hours'
   ),
   counted as (
     insert into error_counts as c
       (grain, dimension, bucket, owner, key, errors, recovered, failed, cancelled)
     select grain, dimension, bucket, owner, key, ${TALLIES}
     from spread group by 1, 2, 3, 4, 5
     on conflict (grain, dimension, bucket, owner, key) do update set
       errors = c.errors + excluded.errors, recovered = c.recovered + excluded.recovered,
       failed = c.failed + excluded.failed, cancelled = c.cancelled + excluded.cancelled
   )
   select count(*)::int as folded from taken`,
);

/** Moves at most `limit` changes into the counts; returns how many. Needs the folding lock. */
export async function foldChanges(tx: Transaction, limit: number): Promise<number> {
  const { rows } = await tx.query<{ folded: number }>(FOLD, [limit]);
  return rows[0]?.folded ?? 0;
}

/** Makes the room of counted changes usable again. Not inside a transaction. */
export async function vacuumChanges(db: Queryable): Promise<void> {
  await db.query("vacuum error_changes");
}

/** Removes the fine counts of times that no window reaches back to; returns how many rows. */
export async function pruneCounts(db: Queryable): Promise<number> {
  const { rowCount } = await db.query(
    `delete from error_counts
     where dimension = any($1::text[])
       and ((grain = 'minute' and bucket < extract(epoch from now() - interval '2 hours 2 minutes'))
         or (grain = 'hour' and bucket < extract(epoch from now() - interval '8 days 2 hours')))`,
    [DIMENSIONS],
  );
  return rowCount;
}

const READ_STEPS = statement(
  "recovery.steps",
  `select a.number as attempt, a.round, coalesce(a.error ->> 'class', 'unknown') as "errorClass",
     coalesce(a.error ->> 'strategy', 'RETRY') as strategy,
     coalesce(a.decision ->> 'rung', a.decision ->> 'rule', '') as rung,
     coalesce(a.decision ->> 'reason', '') as explain, a.ended_at as "endedAt",
     exists (select from attempts s where s.job_id = a.job_id and s.round = a.round
       and s.outcome = 'succeeded') as recovered
   from attempts a
   where a.job_id = $1 and a.decision ->> 'action' = 'retry'
     and (a.outcome = 'failed' or (a.started and a.outcome in ('stalled', 'instance_died')))
   order by a.number limit $2`,
);

/** What was done after each failed attempt of a job, in their order. */
export async function readSteps(
  db: Queryable,
  jobId: string,
  limit: number,
): Promise<RecoveryStepFacts[]> {
  const { rows } = await db.query<RecoveryStepFacts & Record<string, unknown>>(READ_STEPS, [
    jobId,
    limit,
  ]);
  return rows;
}

/** What one step of removing histories did. */
export interface RemovedHistories {
  readonly jobs: number;
  readonly attempts: number;
  /** The last job looked at; null at the end. */
  readonly last: string | null;
}

/**
 * Removes evidence, error and decision of the failed attempts of ended jobs, from after a job's id, as
 * many attempts as `limit` or a few more. The job's row is locked: nobody takes it up again meanwhile.
 */
export async function removeHistories(
  tx: Transaction,
  after: string,
  endedHoursAgo: number,
  limit: number,
): Promise<RemovedHistories> {
  const { rows } = await tx.query<RemovedHistories & Record<string, unknown>>(
    `with looked as materialized (
       select job_id from attempts where evidence is not null and job_id > $1
       order by job_id limit $3
     ),
     due as materialized (
       select id from jobs
       where id in (select job_id from looked) and ended_at is not null
         and ended_at < now() - make_interval(hours => $2)
       order by id for update skip locked
     ),
     removed as (
       update attempts a set evidence = null, error = null, decision = null
       from due where a.job_id = due.id and a.evidence is not null
       returning a.job_id
     )
     select count(distinct job_id)::int as jobs, count(*)::int as attempts,
       (select max(job_id) from looked) as last
     from removed`,
    [after, endedHoursAgo, limit],
  );
  return rows[0] ?? { jobs: 0, attempts: 0, last: null };
}
