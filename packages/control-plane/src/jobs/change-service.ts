import { HoldfastError, type JobView } from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";
import { ownerScope, type Caller } from "../access/model.ts";
import type { Db } from "../platform/db.ts";
import * as changes from "./change-store.ts";
import { isEnded, MAX_JOBS_PER_CANCEL, type JobState, type JobWithLease } from "./model.ts";
import type { JobsPorts } from "./ports.ts";
import type { QueueGauge } from "./queue-gauge.ts";
import { ensureRequirement } from "./requirement-service.ts";

/** Which jobs to cancel together: all that are given must fit, and one must be given. */
export interface CancelManyRequest {
  readonly batchId?: string | undefined;
  readonly tag?: string | undefined;
}

/** Which priority the live jobs of a batch get. */
export interface PrioritizeRequest {
  readonly batchId: string;
  readonly priority: number;
}

/** What callers change about their jobs. */
export interface ChangeService {
  /** Cancels at once, whatever it does. Again: the same answer. Throws `job_ended`. */
  cancel(caller: Caller, ref: string): Promise<JobView>;
  /** Cancels live jobs by batch or tag, a bounded number; `more` says whether to call again. */
  cancelMany(
    caller: Caller,
    request: CancelManyRequest,
  ): Promise<{ readonly cancelled: number; readonly more: boolean }>;
  /**
   * Queues an ended job again in a new round; a completed one only with `force`. Throws
   * `job_not_ended`, `job_ended`, `retry_limit_reached`.
   */
  retry(caller: Caller, ref: string, options?: RetryOptions): Promise<JobView>;
  /** Gives live jobs of a batch another priority, a bounded number; `more` as in `cancelMany`. */
  prioritize(
    caller: Caller,
    request: PrioritizeRequest,
  ): Promise<{ readonly changed: number; readonly more: boolean }>;
}

/** How to retry by hand. `force` lifts the other limits. */
export interface RetryOptions {
  readonly force?: boolean;
  /** Ends that are retried; by default all but `completed`. */
  readonly from?: readonly JobState[];
  /** Retries by hand that a job may have; its own policy comes first. By default any number. */
  readonly maxRetries?: number;
  /**
   * The round that the next one is wanted after. A job in another round is left as it is: so a retry
   * whose answer was lost can be asked for again.
   */
  readonly afterRound?: number;
}

/** What the change service is made of. */
export interface ChangeDeps {
  readonly db: Db;
  readonly ids: IdSource;
  readonly ports: JobsPorts;
  readonly gauge: QueueGauge;
  readonly find: (caller: Caller, ref: string) => Promise<JobWithLease>;
  readonly view: (jobId: string) => Promise<JobView>;
}

/** What a retry by hand takes up again unless told otherwise. */
const RETRIED: readonly JobState[] = ["failed", "timeout", "cancelled"];

/** Why a locked job is not retried; undefined when it is. */
function refusalOf(job: changes.LockedJob, options: RetryOptions): HoldfastError | undefined {
  const { number, state, round } = job;
  if (!isEnded(state)) {
    return new HoldfastError(
      "job_not_ended",
      `job ${number} has not ended: it is still being worked on; cancel it first`,
    );
  }
  if (options.force === true) return undefined;
  if (!(options.from ?? RETRIED).includes(state)) {
    const what = state === "completed" ? "render it once more" : "retry it all the same";
    return new HoldfastError("job_ended", `job ${number} is ${state}; say force to ${what}`);
  }
  const limit =
    options.maxRetries === undefined ? undefined : (job.maxRetryAttempts ?? options.maxRetries);
  // The first round is no retry.
  if (limit === undefined || round <= limit) return undefined;
  return new HoldfastError(
    "retry_limit_reached",
    `job ${number} was retried by hand ${round - 1} times, and ${limit} are allowed; say force to retry it all the same`,
    { details: { retries: round - 1, limit } },
  );
}

/** Jobs changed in one transaction of a cancel by batch or tag, or of a new priority. */
const CANCEL_STEP = 500;

/** Makes the change service. */
export function createChangeService(deps: ChangeDeps): ChangeService {
  const { db, ids, ports, gauge, find, view } = deps;
  const tellCancelled = ({ cancelled, machineIds }: changes.Cancelled): void => {
    if (machineIds.length > 0) ports.onRevoked(machineIds);
    if (cancelled > 0) ports.onEvents(["job.cancelled"]);
  };

  return {
    async cancel(caller, ref) {
      const { job } = await find(caller, ref);
      const done = await db.transaction(async (tx) => {
        const locked = await changes.lockJob(tx, job.id);
        if (locked === undefined) return "gone";
        if (isEnded(locked.state)) return locked.state;
        return await changes.cancelJobs(tx, [{ id: job.id, eventId: ids.next("evt") }], caller.id);
      });
      if (done === "gone") throw gone(job.id);
      if (typeof done !== "string") tellCancelled(done);
      else if (done !== "cancelled") {
        throw new HoldfastError("job_ended", `job ${job.number} has ended: it is ${done}`, {
          details: { jobId: job.id, status: done },
        });
      }
      return await view(job.id);
    },
    async cancelMany(caller, request) {
      const { batchId = null, tag = null } = request;
      if (batchId === null && tag === null) {
        throw new HoldfastError("invalid_request", "name a batchId or a tag (or both) to cancel");
      }
      const filter = { owner: ownerScope(caller), batchId, tag };
      for (let cancelled = 0; ;) {
        if (cancelled >= MAX_JOBS_PER_CANCEL) return { cancelled, more: true };
        const step = await db.transaction(async (tx) => {
          const jobs = await changes.lockLiveJobs(tx, filter, CANCEL_STEP);
          const targets = jobs.map((job) => ({ id: job.id, eventId: ids.next("evt") }));
          return await changes.cancelJobs(tx, targets, caller.id);
        });
        tellCancelled(step);
        cancelled += step.cancelled;
        if (step.cancelled < CANCEL_STEP) return { cancelled, more: false };
      }
    },
    async retry(caller, ref, options = {}) {
      const { job } = await find(caller, ref);
      let requirementId: number | null = null;
      const isRedriven = await db.transaction(async (tx) => {
        const locked = await changes.lockJob(tx, job.id);
        if (locked === undefined) throw gone(job.id);
        if (locked.round !== (options.afterRound ?? locked.round)) return false;
        const refused = refusalOf(locked, options);
        if (refused !== undefined) throw refused;
        const ownNeeds = job.plan?.ownNeeds;
        requirementId = ownNeeds === undefined ? null : await ensureRequirement(tx, ownNeeds);
        const told = { eventId: ids.next("evt"), by: caller.id };
        return await changes.redriveJob(tx, job.id, told, requirementId);
      });
      if (!isRedriven) return await view(job.id);
      gauge.reserve(job.owner, 1).commit();
      ports.onEvents(["job.redriven", "job.held"]);
      ports.onQueued([{ id: requirementId ?? job.requirementId, needs: null }]);
      return await view(job.id);
    },
    async prioritize(caller, { batchId, priority }) {
      for (let changed = 0; ;) {
        if (changed >= MAX_JOBS_PER_CANCEL) return { changed, more: true };
        const filter = { owner: ownerScope(caller), batchId, priority };
        const step = await changes.prioritizeJobs(db, filter, CANCEL_STEP);
        changed += step;
        if (step < CANCEL_STEP) return { changed, more: false };
      }
    },
  };
}

/** It was there when it was looked up, and has been removed since. */
function gone(jobId: string): HoldfastError {
  return new HoldfastError("not_found", `there is no job ${jobId} any more`);
}
