import { statement, type Queryable, type Transaction } from "../platform/db.ts";
import { HOLD_SETTING, type JobState } from "./model.ts";

/** A job that is locked for a change, and what the change is decided by. */
export interface LockedJob {
  readonly id: string;
  readonly number: number;
  readonly owner: string;
  readonly state: JobState;
  readonly attemptCount: number;
  readonly requirementId: number;
  /** Grows with every retry by hand, from 1. */
  readonly round: number;
  /** The job's own limit on retries; null leaves it to the setting. */
  readonly maxRetryAttempts: number | null;
}

const LOCKED_COLUMNS = `id, number, owner, state, attempt_count as "attemptCount",
  requirement_id as "requirementId", round,
  (policy ->> 'maxRetryAttempts')::int as "maxRetryAttempts"`;

const LOCK = statement("jobs.lock", `select ${LOCKED_COLUMNS} from jobs where id = $1 for update`);

/**
 * Locks a job until the transaction ends. A change that touches leases or attempts as well must lock
 * first: a statement that waits for a claim sees the job as the claim left it, but not the lease that
 * the claim inserted.
 */
export async function lockJob(tx: Transaction, jobId: string): Promise<LockedJob | undefined> {
  const { rows } = await tx.query<LockedJob & Record<string, unknown>>(LOCK, [jobId]);
  return rows[0];
}

/** Which live jobs to end together. At least one of batch and tag is given. */
export interface LiveFilter {
  readonly owner: string | null;
  readonly batchId: string | null;
  readonly tag: string | null;
}

/** Locks live jobs of a batch or tag by id order, at most `limit`. */
export async function lockLiveJobs(
  tx: Transaction,
  filter: LiveFilter,
  limit: number,
): Promise<LockedJob[]> {
  const { rows } = await tx.query<LockedJob & Record<string, unknown>>(
    `select ${LOCKED_COLUMNS} from jobs
     where state in ('queued', 'processing', 'recovering')
       and ($1::text is null or owner = $1)
       and ($2::text is null or batch_id = $2)
       and ($3::text is null or (tags @> array[$3::text] and tags <> '{}'))
     order by id limit $4 for update`,
    [filter.owner, filter.batchId, filter.tag, limit],
  );
  return rows;
}

const CANCEL = statement(
  "jobs.cancel",
  `with target as (select * from unnest($1::text[], $2::text[]) as t (id, event_id)),
   ended as (
     update jobs j set state = 'cancelled', ended_at = now(), held = false, run_at = null,
       waiting_reason = null, lease_epoch = lease_epoch + 1
     from target t
     where j.id = t.id and j.state in ('queued', 'processing', 'recovering')
     returning j.id, j.number, j.owner, j.batch_id, t.event_id
   ),
   freed as (
     delete from leases l using ended e where l.job_id = e.id
     returning l.machine_id, l.attempt_id
   ),
   closed as (
     update attempts a set outcome = 'interrupted', ended_at = now(),
       decision = jsonb_build_object(
         'action', 'end', 'reason', 'the job was cancelled', 'delayMs', null)
     from freed f where a.id = f.attempt_id and a.outcome is null
   ),
   told as (
     insert into events (id, type, version, owner, job_id, payload)
     select event_id, 'job.cancelled', 1, owner, id, jsonb_build_object(
       'jobId', id, 'number', number, 'batchId', batch_id, 'by', $3::text)
     from ended order by id
   )
   select (select count(*)::int from ended) as cancelled,
     (select coalesce(array_agg(distinct machine_id), '{}') from freed) as "machineIds"`,
);

/** What a cancel did. */
export interface Cancelled {
  readonly cancelled: number;
  /** Machines that held a lease on one of them: they should be told at once. */
  readonly machineIds: readonly string[];
}

/**
 * Ends locked jobs as cancelled: lease gone, running attempt closed, epoch grown so that the holder
 * can write nothing more, event told. Jobs that have ended are left as they are.
 */
export async function cancelJobs(
  tx: Transaction,
  jobs: readonly { readonly id: string; readonly eventId: string }[],
  by: string,
): Promise<Cancelled> {
  const { rows } = await tx.query<Cancelled & Record<string, unknown>>(CANCEL, [
    jobs.map((job) => job.id),
    jobs.map((job) => job.eventId),
    by,
  ]);
  return rows[0] ?? { cancelled: 0, machineIds: [] };
}

/**
 * Queues an ended job again in a new round. The caller's own graph counts again: a plan of recovery
 * is dropped, and with it (or with the outputs of a completed job) the lineage, so that nothing of
 * another picture is reused; finished outputs of the same graph are kept. Returns false when the job
 * has not ended.
 */
export async function redriveJob(
  tx: Transaction,
  jobId: string,
  told: { readonly eventId: string; readonly by: string },
  /** Of the caller's own graph; null when the job waits under it anyway. */
  requirementId: number | null,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `with stop as (
       select coalesce(
         (select value not in ('null', 'false') from settings where key = '${HOLD_SETTING}'),
         false) as is_on
     ),
     before as (
       select id, plan->>'patch' is null and state <> 'completed' as keeps_graph from jobs
       where id = $1 and state in ('completed', 'failed', 'timeout', 'cancelled')
     ),
     redriven as (
       update jobs j set state = 'queued', held = stop.is_on, ended_at = null, started_at = null,
         round = round + 1, failure_count = 0, recovery_count = 0, poison = false,
         dead_instances = '{}', avoid_instances = '{}', error = null, execution_ms = 0,
         run_at = null, waiting_reason = null, plan = null,
         requirement_id = coalesce($4, requirement_id),
         lineage = lineage + case when keeps_graph then 0 else 1 end,
         output_count = case when keeps_graph then output_count else 0 end
       from stop, before b
       where j.id = b.id
       returning j.id, j.number, j.owner, j.batch_id, j.round
     )
     insert into events (id, type, version, owner, job_id, payload)
     select $2, 'job.redriven', 1, owner, id, jsonb_build_object(
       'jobId', id, 'number', number, 'batchId', batch_id, 'round', round, 'by', $3::text)
     from redriven`,
    [jobId, told.eventId, told.by, requirementId],
  );
  return rowCount > 0;
}

/** Gives live jobs of a batch another priority, at most `limit`; returns how many. */
export async function prioritizeJobs(
  db: Queryable,
  filter: {
    readonly owner: string | null;
    readonly batchId: string;
    readonly priority: number;
  },
  limit: number,
): Promise<number> {
  const { rowCount } = await db.query(
    `with target as (
       select id from jobs
       where batch_id = $2 and state in ('queued', 'processing', 'recovering') and priority <> $3
         and ($1::text is null or owner = $1)
       order by id limit $4 for update
     )
     update jobs j set priority = $3 from target where j.id = target.id`,
    [filter.owner, filter.batchId, filter.priority, limit],
  );
  return rowCount;
}
