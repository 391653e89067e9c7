import { tryAdvisoryLock } from "../platform/advisory-lock.ts";
import type { Queryable, Transaction } from "../platform/db.ts";
import { statement, toTimestamp } from "../platform/db.ts";
import { BUCKET_GROWTH, BUCKET_MAX } from "./latency-buckets.ts";
import { KEPT_DAYS, SETTLED_MS, type ServiceStretch, type TimeRange } from "./model.ts";

/** The advisory lock under which minutes are counted. */
const COUNT_LOCK = 4_801_341;

/** Takes the lock for this transaction; false when another replica counts. */
export async function tryLockCounting(tx: Transaction): Promise<boolean> {
  return await tryAdvisoryLock(tx, COUNT_LOCK);
}

const NEXT_RANGE = statement(
  "sla.next_range",
  `with counted as (
     select coalesce(
       (select until - $1 * interval '1 millisecond' from service_minutes_counted),
       (select min(first) from (
         select (select min(ended_at) from jobs where state = s.state and ended_at is not null) as first
         from unnest(array['completed', 'failed', 'timeout', 'cancelled']) as s (state)) as f),
       now()) as until
   )
   select date_trunc('minute', greatest(until, now() - $2 * interval '1 day')) as "from",
     date_trunc('minute', now()) + interval '1 minute' as "to"
   from counted`,
);

/** What has to be counted: all that is not settled. */
export async function readNextRange(tx: Transaction): Promise<TimeRange> {
  const { rows } = await tx.query<{ from: number; to: number }>(NEXT_RANGE, [
    SETTLED_MS,
    KEPT_DAYS,
  ]);
  return rows[0] ?? { from: 0, to: 0 };
}

/**
 * A page of a book counts from when its book had room for it: when all but `window` - 1 of the pages
 * that ended before it had ended. Before that nobody could have rendered it.
 */
const COUNT = statement(
  "sla.count_minutes",
  `with ended as (
     select id, batch_id, state, created_at, ended_at, attempt_count, output_count from jobs
     where state in ('completed', 'failed', 'timeout', 'cancelled')
       and ended_at >= $1 and ended_at < $2
   ),
   pages as (
     select id, lag(ended_at, $3) over (partition by batch_id order by ended_at, id) as room_at
     from jobs
     where batch_id = any (array(select distinct batch_id from ended where batch_id is not null))
       and ended_at is not null and ended_at < $2
   ),
   timed as (
     select ended.*, date_trunc('minute', ended_at) as minute,
       least(${BUCKET_MAX}, floor(ln(greatest(1.0, extract(epoch from
         ended_at - greatest(created_at, coalesce(room_at, created_at)))::float8 * 1000))
         / ln(${BUCKET_GROWTH}::float8)))::smallint as bucket
     from ended left join pages using (id)
   ),
   latencies as (
     select minute, array_agg(bucket order by bucket) as buckets, array_agg(jobs order by bucket) as jobs
     from (
       select minute, bucket, count(*)::int as jobs from timed where state = 'completed' group by 1, 2
     ) as b group by minute
   )
   insert into service_minutes (minute, completed, recovered, failed, timed_out, cancelled, outputs,
     latency_buckets, latency_jobs)
   select minute,
     count(*) filter (where state = 'completed'),
     count(*) filter (where state = 'completed' and attempt_count > 1),
     count(*) filter (where state = 'failed'),
     count(*) filter (where state = 'timeout'),
     count(*) filter (where state = 'cancelled'),
     coalesce(sum(output_count) filter (where state = 'completed'), 0),
     coalesce((select buckets from latencies as l where l.minute = timed.minute), '{}'),
     coalesce((select jobs from latencies as l where l.minute = timed.minute), '{}')
   from timed group by minute`,
);

/** Counts the minutes of a range anew, and remembers how far it came. Needs the lock. */
export async function countMinutes(
  tx: Transaction,
  { from, to }: TimeRange,
  window: number,
): Promise<void> {
  const range = [toTimestamp(from), toTimestamp(to)];
  await tx.query("delete from service_minutes where minute >= $1 and minute < $2", range);
  await tx.query(COUNT, [...range, window]);
  await tx.query(
    `insert into service_minutes_counted (until) values (least($1::timestamptz, now()))
     on conflict (only_one) do update set until = excluded.until`,
    [range[1]],
  );
}

const STRETCHES = statement(
  "sla.stretches",
  `with chosen as (
     select to_timestamp(floor(extract(epoch from minute) / $3::float8) * $3::float8) as at, m.*
     from service_minutes as m where minute >= $1 and minute < $2
   ),
   latencies as (
     select at, json_agg(json_build_object('bucket', bucket, 'jobs', jobs)) as latency
     from (
       select at, bucket, sum(jobs)::int as jobs
       from chosen cross join unnest(latency_buckets, latency_jobs) as b (bucket, jobs) group by 1, 2
     ) as sums group by at
   )
   select at, sum(completed)::int as completed, sum(recovered)::int as recovered,
     sum(failed)::int as failed, sum(timed_out)::int as "timedOut",
     sum(cancelled)::int as cancelled, sum(outputs)::int as outputs,
     coalesce((select latency from latencies as l where l.at = chosen.at), '[]') as latency
   from chosen group by at order by at`,
);

/** Stretches of so many seconds in which jobs ended, the first one first. */
export async function readStretches(
  db: Queryable,
  { from, to }: TimeRange,
  stepSeconds: number,
): Promise<ServiceStretch[]> {
  const values = [toTimestamp(from), toTimestamp(to), stepSeconds];
  return (await db.query<ServiceStretch>(STRETCHES, values)).rows;
}

/** How many jobs ended by themselves in a minute, and how many of them badly. */
export interface MinuteEnds {
  readonly fromMs: number;
  readonly ended: number;
  readonly failed: number;
}

/** The minutes of a range in which jobs ended by themselves. */
export async function readMinuteEnds(
  db: Queryable,
  { from, to }: TimeRange,
): Promise<MinuteEnds[]> {
  const { rows } = await db.query<MinuteEnds>(
    `select minute as "fromMs", completed + failed + timed_out as ended, failed + timed_out as failed
     from service_minutes where minute >= $1 and minute < $2 and completed + failed + timed_out > 0`,
    [toTimestamp(from), toTimestamp(to)],
  );
  return rows;
}

/** Removes minutes and losses that nobody asks for any more; returns how many rows. */
export async function pruneOld(db: Queryable): Promise<number> {
  let removed = 0;
  for (const [table, column] of [
    ["service_minutes", "minute"],
    ["instance_losses", "lost_at"],
  ]) {
    const { rowCount } = await db.query(
      `delete from ${table} where ${column} < now() - $1 * interval '1 day'`,
      [KEPT_DAYS + 1],
    );
    removed += rowCount;
  }
  return removed;
}
