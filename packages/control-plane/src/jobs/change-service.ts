import { HoldfastError, type JobView } from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";
import { ownerScope, type Caller } from "../access/model.ts";
import type { Db } from "../platform/db.ts";
import * as changes from "./change-store.ts";
import { isEnded, MAX_JOBS_PER_CANCEL, type JobWithLease } from "./model.ts";
import type { JobsPorts } from "./ports.ts";
import type { QueueGauge } from "./queue-gauge.ts";
import { ensureRequirement } from "./requirement-service.ts";

/** Which jobs to cancel together: all that are given must fit, and one must be given. */
export interface CancelManyRequest {
  readonly batchId?: string | undefined;
  readonly tag?: string | undefined;
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
   * `job_not_ended`, `job_ended`.
   */
  retry(caller: Caller, ref: string, options?: { readonly force?: boolean }): Promise<JobView>;
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

/** Jobs ended in one transaction of a cancel by batch or tag. */
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
      const refused = await db.transaction(async (tx) => {
        const locked = await changes.lockJob(tx, job.id);
        if (locked === undefined) throw gone(job.id);
        if (!isEnded(locked.state)) return "job_not_ended";
        if (locked.state === "completed" && options.force !== true) return "job_ended";
        const ownNeeds = job.plan?.ownNeeds;
        requirementId = ownNeeds === undefined ? null : await ensureRequirement(tx, ownNeeds);
        const told = { eventId: ids.next("evt"), by: caller.id };
        await changes.redriveJob(tx, job.id, told, requirementId);
        return undefined;
      });
      if (refused === "job_not_ended") {
        throw new HoldfastError(
          refused,
          `job ${job.number} has not ended: it is still being worked on; cancel it first`,
        );
      }
      if (refused === "job_ended") {
        throw new HoldfastError(
          refused,
          `job ${job.number} is completed; say force to render it once more`,
        );
      }
      gauge.reserve(job.owner, 1).commit();
      ports.onEvents(["job.redriven", "job.held"]);
      ports.onQueued([{ id: requirementId ?? job.requirementId, needs: null }]);
      return await view(job.id);
    },
  };
}

/** It was there when it was looked up, and has been removed since. */
function gone(jobId: string): HoldfastError {
  return new HoldfastError("not_found", `there is no job ${jobId} any more`);
}
