import type { Lease } from "@holdfast/contract";
import type { Profile } from "../profiles/profile.ts";
import { stallLimits } from "../profiles/stall-limits.ts";
import { planCheckpoints, type JobCheckpoints } from "./checkpoint-plan.ts";
import { buildGraph, type GraphTemplates } from "./graph-cache.ts";
import type { GrantedJob, SchedulerSettings } from "./model.ts";

/**
 * The lease of a granted job: the whole graph, with the plan of recovery in it, and what there is to
 * be put away of it or to be gone on from. Its template must be among `templates`.
 */
export function toLease(
  job: GrantedJob,
  mode: Lease["mode"],
  {
    templates,
    saved,
    restartable,
    settings,
    profileOf,
  }: {
    readonly templates: GraphTemplates;
    readonly saved: ReadonlyMap<string, JobCheckpoints>;
    /** Instances whose agents declare that they can start them anew. */
    readonly restartable: ReadonlySet<string>;
    readonly settings: SchedulerSettings;
    /** What is known of a job's cost where it is going to run; undefined: nothing. */
    readonly profileOf: (job: GrantedJob) => Profile | undefined;
  },
): Lease {
  const graph = buildGraph(templates, job.graphId, [job.patch, job.plan?.patch ?? null]);
  const policy = {
    mode: settings.recoveryEnabled ? (job.checkpoints ?? settings.checkpoints) : ("off" as const),
    maxLoss: job.maxLoss,
    minWork: settings.checkpointMinWork,
  };
  return {
    attemptId: job.attemptId as Lease["attemptId"],
    jobId: job.jobId,
    instanceId: job.instanceId,
    leaseEpoch: job.leaseEpoch,
    mode,
    promptId: job.promptId,
    attemptNumber: job.attemptNumber,
    ...planCheckpoints(graph, policy, saved.get(job.jobId)),
    inputs: [...job.inputs],
    storedOutputs: [...job.storedOutputs],
    before: beforeOf(job, restartable),
    executionLimitMs: Math.max(0, job.timeoutMs + (job.plan?.extendedMs ?? 0) - job.executionMs),
    stall: stallLimits(profileOf(job)?.statistics, {
      set: settings.stalls,
      hasInputs: job.inputs.length > 0,
      isTriedBefore: job.attemptNumber > 1,
    }),
    ttlMs: settings.leaseTtlMs,
  };
}

/**
 * An instance is started anew only where the job failed: another one that takes the job meanwhile did
 * nothing wrong, and an agent that did not say it can would not know what is asked of it.
 */
function beforeOf(
  { plan, instanceId }: GrantedJob,
  restartable: ReadonlySet<string>,
): Lease["before"] {
  const before = plan?.before ?? "nothing";
  if (before !== "restart_instance") return before;
  return plan?.restartAt === instanceId && restartable.has(instanceId) ? before : "nothing";
}
