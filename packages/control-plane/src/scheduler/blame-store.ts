/** What blame looks at, in SQL. */
import type { InstanceEnd, RetryReason } from "@holdfast/recovery";
import type { Queryable } from "../platform/db.ts";

/** What ended on an instance lately, and its quarantines. */
export interface InstanceRecord {
  /** Newest first; what ended before its last quarantine was over is left out. */
  readonly ends: readonly InstanceEnd[];
  /** Quarantines in a row: without a job in between, or since the last one, that went well. */
  readonly quarantines: number;
}

/** Decisions that lay a failure to the job itself: every instance would have failed it. */
export const JOBS_OWN_REASONS: ReadonlySet<RetryReason> = new Set([
  "same_graph_fails_everywhere",
  "out_of_time",
  "custom_pattern",
]);

/** Attempts that are looked at, and in which a job that went well since a quarantine is looked for. */
const RECENT_MAX = 200;

/** Reads the record of an instance; the failure to be judged must be written already. */
export async function readInstanceRecord(
  db: Queryable,
  instanceId: string,
  windowMs: number,
  limit: number,
): Promise<InstanceRecord> {
  const { rows } = await db.query<{
    jobId: string;
    class: InstanceEnd["class"];
    failedElsewhere: boolean;
    quarantines: number;
  }>(
    `with recent as materialized (
       select job_id, outcome, error, decision, ended_at, id from attempts
       where instance_id = $1 order by id desc limit ${RECENT_MAX}
     )
     select a.job_id as "jobId",
       -- A job that went well since the last one has ended the row of quarantines.
       case when exists (
         select from recent
         where recent.outcome = 'succeeded' and recent.ended_at > i.quarantined_until
       ) then 0 else i.quarantine_count end as quarantines,
       case when a.outcome <> 'succeeded' then coalesce(a.error ->> 'class', 'unknown') end as class,
       a.outcome <> 'succeeded' and exists (
         select from attempts b where b.job_id = a.job_id and b.instance_id <> $1
           and b.error ->> 'class' = a.error ->> 'class') as "failedElsewhere"
     from instances i cross join recent a
     where i.id = $1
       and a.outcome in ('succeeded', 'failed', 'stalled', 'instance_died')
       and coalesce(a.decision ->> 'rule' <> all($4::text[]), true)
       and a.ended_at > greatest(
         now() - make_interval(secs => $2::float8 / 1000), i.quarantined_until)
     order by a.id desc limit $3`,
    [instanceId, windowMs, limit, [...JOBS_OWN_REASONS]],
  );
  return {
    ends: rows.map(({ jobId, class: errorClass, failedElsewhere }) => ({
      jobId,
      class: errorClass,
      failedElsewhere,
    })),
    quarantines: rows[0]?.quarantines ?? 0,
  };
}
