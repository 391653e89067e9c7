import { canonicalJson, type GraphLimits } from "@holdfast/comfyui/protocol";
import { HoldfastError, type SubmitJob } from "@holdfast/contract";
import { invariant, type Clock } from "@holdfast/runtime";
import type { Caller } from "../access/model.ts";
import type { Db } from "../platform/db.ts";
import type { JobWithLease } from "./model.ts";
import type { QueueGauge, Reservation } from "./queue-gauge.ts";
import { readJobs } from "./read-store.ts";
import {
  createSubmitCommit,
  type Commit,
  type PreparedJob,
  type WrittenJob,
} from "./submit-commit.ts";
import { readKeys } from "./submit-store.ts";
import { planAll, prepareJobs, sha256, type PreparationDeps } from "./submit-preparation.ts";

/** What a submit is made of. */
export interface SubmitDeps extends PreparationDeps {
  readonly clock: Clock;
  readonly gauge: QueueGauge;
  readonly maxQueuedJobs: number;
  readonly graphLimits?: GraphLimits;
}

/** How to submit. */
export interface SubmitOptions {
  readonly idempotencyKey?: string;
  readonly validate?: "strict" | "lenient";
  /** What the key stands for, when the requests were made from something else; by default they. */
  readonly keyedBody?: unknown;
}

/** What a submit gave: the jobs in the order of the requests. */
export interface Submitted {
  readonly jobs: readonly JobWithLease[];
  /** False when the idempotency key had been used before: these are the jobs of that time. */
  readonly created: boolean;
  readonly warnings: readonly string[];
}

/** Takes jobs in. */
export interface SubmitService {
  /**
   * Resolves when all jobs are on disk; takes all or none. Throws `HoldfastError`: the `graph_…`
   * codes, `override_unmatched`, `node_class_forbidden`, `input_missing`, `invalid_file_name`,
   * `url_forbidden`, `graph_invalid`, `idempotency_conflict`, `job_removed`, `queue_full`, `overloaded`.
   */
  submit(
    caller: Caller,
    requests: readonly SubmitJob[],
    options?: SubmitOptions,
  ): Promise<Submitted>;
  /** Resolves when nothing is being written. */
  drain(): Promise<void>;
}

/** How old a reading of the queue may be that somebody is refused by. */
const REFUSAL_MAX_AGE_MS = 50;
/** After how long a full queue is worth another try. */
const QUEUE_FULL_RETRY_SECONDS = 5;

/** Makes the submit service. */
export function createSubmitService(deps: SubmitDeps): SubmitService {
  const { db, gauge, ports, maxQueuedJobs } = deps;
  const commit = createSubmitCommit(db, deps.clock, gauge);

  const reserve = async (owner: string, count: number): Promise<Reservation> => {
    await gauge.refresh();
    if (gauge.waiting() + count > maxQueuedJobs) {
      // Before anybody is refused the queue is looked at as it is now.
      await gauge.refresh(REFUSAL_MAX_AGE_MS);
    }
    const waiting = gauge.waiting();
    if (waiting + count > maxQueuedJobs) {
      throw new HoldfastError(
        "queue_full",
        `${waiting} jobs wait, and at most ${maxQueuedJobs} may; nothing was accepted, try again later`,
        {
          retryAfterSeconds: QUEUE_FULL_RETRY_SECONDS,
          details: { waiting, limit: maxQueuedJobs, submitted: count },
        },
      );
    }
    return gauge.reserve(owner, count);
  };

  return {
    async submit(caller, requests, options = {}) {
      const plans = planAll(caller, requests, deps.graphLimits);
      const { idempotencyKey } = options;
      const idempotency =
        idempotencyKey === undefined
          ? null
          : {
              key: idempotencyKey,
              requestHash: sha256(canonicalJson(options.keyedBody ?? requests)),
            };
      if (idempotency !== null) {
        // A repeat gives the same jobs even when the queue is full or the files are gone by now.
        const [stored] = await readKeys(db, [{ owner: caller.id, key: idempotency.key }]);
        if (stored !== undefined) {
          return await repeated(db, stored.jobIds, stored.requestHash, idempotency.requestHash);
        }
      }
      const { jobs, warnings } = await prepareJobs(deps, caller, plans, options);
      const reservation = await reserve(caller.id, jobs.length);
      let result: Commit | undefined;
      try {
        result = await commit.add({ owner: caller.id, jobs, idempotency });
      } finally {
        if (result?.kind === "created") reservation.commit();
        else reservation.release();
      }
      if (result.kind === "repeated") {
        return await repeated(
          db,
          result.jobIds,
          result.requestHash,
          idempotency?.requestHash ?? "",
        );
      }
      ports.onEvents(["job.queued", "job.held"]);
      const isHeld = result.jobs.some((job) => job.held);
      if (!isHeld) {
        ports.onQueued(
          result.jobs.map((job, index) => ({
            id: job.requirementId,
            needs: jobs[index]?.plan.needs ?? null,
          })),
        );
      }
      return {
        jobs: result.jobs.map((row, index) => toNewJob(caller, row, jobs[index])),
        created: true,
        warnings,
      };
    },
    drain: () => commit.drain(),
  };
}

/** The answer to a repeat: the jobs of the first time, as they are now. */
async function repeated(
  db: Db,
  jobIds: readonly string[],
  stored: string,
  requestHash: string,
): Promise<Submitted> {
  if (stored !== requestHash) {
    throw new HoldfastError(
      "idempotency_conflict",
      "this Idempotency-Key was used with another body; use a new key for another submit",
      { details: { jobIds: jobIds.slice(0, 10) } },
    );
  }
  const found = new Map((await readJobs(db, jobIds)).map((entry) => [entry.job.id, entry]));
  const jobs = jobIds.flatMap((id) => found.get(id) ?? []);
  if (jobs.length < jobIds.length) {
    throw new HoldfastError(
      "job_removed",
      `this Idempotency-Key was used before, and ${jobIds.length - jobs.length} of its ${jobIds.length} jobs ended and were removed since; use a new key to render again`,
      { details: { jobIds: jobIds.filter((id) => !found.has(id)).slice(0, 10) } },
    );
  }
  return { jobs, created: false, warnings: [] };
}

/** A job as it was just written, without reading it again. */
function toNewJob(
  caller: Caller,
  row: WrittenJob,
  prepared: PreparedJob | undefined,
): JobWithLease {
  invariant(prepared !== undefined, "every written job was prepared");
  const { plan } = prepared;
  return {
    lease: null,
    job: {
      id: row.id,
      number: row.number,
      owner: caller.id,
      state: "queued",
      held: row.held,
      poison: false,
      priority: plan.priority,
      requirementId: row.requirementId,
      graphId: row.graphId,
      costKey: plan.costKey,
      patch: plan.patch,
      plan: null,
      lineage: 1,
      round: 1,
      inputs: prepared.inputs,
      promised: plan.promised,
      leaseEpoch: 0,
      attemptCount: 0,
      failureCount: 0,
      recoveryCount: 0,
      runAt: null,
      waitingReason: null,
      timeoutMs: plan.timeoutMs,
      executionMs: 0,
      policy: plan.policy,
      name: plan.name,
      tags: plan.tags,
      batchId: plan.batchId,
      metadata: plan.metadata,
      webhook: plan.webhook,
      error: null,
      outputCount: 0,
      createdAt: row.createdAt,
      startedAt: null,
      endedAt: null,
    },
  };
}
