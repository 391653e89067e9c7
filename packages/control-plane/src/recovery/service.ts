import { graphNeeds, parseGraph, type Graph } from "@holdfast/comfyui/protocol";
import {
  HoldfastError,
  type RecoveryPlan,
  type RecoveryPlanRequest,
  type RecoveryStatus,
} from "@holdfast/contract";
import { readParameters, type Classifier } from "@holdfast/recovery";
import type { Caller } from "../access/model.ts";
import { DEFAULT_JOB_TIMEOUT_MS, type Job } from "../jobs/model.ts";
import type { JobsService } from "../jobs/service.ts";
import { toJobView } from "../jobs/view.ts";
import type { Db } from "../platform/db.ts";
import type { RecoveryPorts, RecoveryStepFacts } from "./model.ts";
import { planFor } from "./plan.ts";
import { toRecoveryStatus } from "./status.ts";
import * as store from "./store.ts";
import {
  createRecoverySubmit,
  type RecoverySubmitDeps,
  type RecoverySubmitService,
} from "./submit-service.ts";

/** What the service is made of. */
export interface RecoveryServiceDeps extends RecoverySubmitDeps {
  readonly db: Db;
  readonly ports: RecoveryPorts;
  /** `MAX_RETRY_ATTEMPTS`: retries by hand without force, and what a plan goes by. */
  readonly maxRetries: number;
  readonly isRecoveryEnabled: boolean;
  readonly fallbackModels: readonly string[];
  /** Built-in rules and the operators' patterns. */
  readonly classify: Classifier;
}

/** What a clean-up removed. */
export interface CleanUp {
  readonly histories: number;
  readonly attempts: number;
  readonly checkpoints: number;
  readonly more: boolean;
}

/** The error recovery API's deeds. `ref` is a job's number or its id. */
export interface RecoveryService extends RecoverySubmitService {
  status(caller: Caller, ref: string): Promise<RecoveryStatus>;
  /** Queues a job again that failed or ran out of time; any ended one with `force`. */
  retry(caller: Caller, ref: string, force: boolean): ReturnType<JobsService["retry"]>;
  /** What would be done about an error. */
  plan(caller: Caller, request: RecoveryPlanRequest): Promise<RecoveryPlan>;
  /** Removes what recovery keeps of jobs that ended so long ago. Never touches a live job. */
  cleanUp(endedHoursAgo: number): Promise<CleanUp>;
}

/** Steps of a history that a status tells. */
const MAX_STEPS = 1_000;
/** Attempts looked at in one transaction of a clean-up, and in one call. */
const CLEANUP_STEP = 500;
const CLEANUP_MAX = 200_000;
const NO_NEEDS = { nodeClasses: [], models: [] };

/** Makes the service. */
export function createRecoveryService(deps: RecoveryServiceDeps): RecoveryService {
  const { db, jobs, ports } = deps;
  /** The graph given, else the job's own, else none. */
  const graphToPlanFor = async (
    caller: Caller,
    jobId: string | null,
    own: RecoveryPlanRequest["workflow_data"],
  ): Promise<Graph | null> => {
    if (own !== undefined) {
      const parsed = parseGraph(own, deps.graphLimits);
      if (parsed.kind === "refused") throw refusedGraph(parsed.message);
      return parsed.graph;
    }
    return jobId === null ? null : await jobs.graph(caller, jobId, "submitted");
  };
  return {
    ...createRecoverySubmit(deps),
    async status(caller, ref) {
      const found = await jobs.find(caller, ref);
      const { job } = found;
      const [steps, outputs, submitted, running, saved] = await Promise.all([
        store.readSteps(db, job.id, MAX_STEPS),
        jobs.outputs(caller, job.id),
        jobs.graph(caller, job.id, "submitted"),
        jobs.graph(caller, job.id),
        ports.usableCheckpoints(job.id),
      ]);
      return toRecoveryStatus({
        job,
        view: toJobView(found),
        steps: withWaiting(steps, job),
        outputs,
        saved,
        submitted: readParameters(submitted),
        running: readParameters(running),
      });
    },
    retry: (caller, ref, force) =>
      jobs.retry(caller, ref, {
        force,
        from: ["failed", "timeout"],
        maxRetries: deps.maxRetries,
      }),
    async plan(caller, { error, job_id: ref, workflow_data: own, policy }) {
      const job = ref === undefined ? null : (await jobs.find(caller, String(ref))).job;
      const graph = await graphToPlanFor(caller, job?.id ?? null, own);
      return planFor({
        error,
        classify: deps.classify,
        graph,
        needs: graph === null ? NO_NEEDS : graphNeeds(graph),
        servers: await deps.machines.servers(),
        policy: { ...job?.policy, ...policy },
        timeoutMs: job?.timeoutMs ?? DEFAULT_JOB_TIMEOUT_MS,
        maxRetryAttempts: deps.maxRetries,
        isRecoveryEnabled: deps.isRecoveryEnabled,
        fallbackModels: deps.fallbackModels,
      });
    },
    async cleanUp(endedHoursAgo) {
      let histories = 0;
      let attempts = 0;
      let after: string | null = "";
      while (after !== null && attempts < CLEANUP_MAX) {
        const from: string = after;
        const step = await db.transaction((tx) =>
          store.removeHistories(tx, from, endedHoursAgo, CLEANUP_STEP),
        );
        histories += step.jobs;
        attempts += step.attempts;
        after = step.last;
      }
      const checkpoints = await ports.removeCheckpoints(endedHoursAgo);
      return { histories, attempts, checkpoints, more: after !== null };
    },
  };
}

/** Changes that were made before the first attempt stand first, those between attempts among them. */
function withWaiting(steps: readonly RecoveryStepFacts[], job: Job): readonly RecoveryStepFacts[] {
  const waited = (job.plan?.replanned ?? []).map(({ at, rung, explain }) => ({
    attempt: steps.filter(({ endedAt }) => endedAt <= at).length,
    round: job.round,
    errorClass: "model_missing",
    strategy: rung === "fetch_model" ? "RETRY" : "SWITCH_MODEL",
    rung,
    explain,
    endedAt: at,
    recovered: job.state === "completed",
  }));
  return [...steps, ...waited].sort((one, other) => one.endedAt - other.endedAt);
}

function refusedGraph(message: string): HoldfastError {
  return new HoldfastError("invalid_request", `body.workflow_data: ${message}`, {
    details: { field: "body.workflow_data" },
  });
}
