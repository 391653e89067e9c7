/** What would be done about an error, without doing it. Pure. */
import type { Graph } from "@holdfast/comfyui/protocol";
import type { JobPolicy, RecoveryPlan, RecoveryPlanRequest } from "@holdfast/contract";
import {
  EMPTY_RECIPE,
  EVIDENCE_CHANNELS,
  LADDERS,
  limitEvidence,
  LOSS_LEVELS,
  rehearse,
  toChangeFacts,
  wantedMemory,
  type ClassifiedError,
  type Classifier,
  type FailedOutcome,
  type FailureEvidence,
  type RungName,
} from "@holdfast/recovery";
import type { Needs } from "../machines/model.ts";
import type { Servers } from "../machines/servers.ts";

/** What a plan is made from. */
export interface PlanFacts {
  readonly error: RecoveryPlanRequest["error"];
  readonly classify: Classifier;
  /** The caller's graph; null when only the error is known. */
  readonly graph: Graph | null;
  readonly needs: Needs;
  readonly servers: Servers;
  readonly policy: JobPolicy;
  readonly timeoutMs: number;
  readonly maxRetryAttempts: number;
  readonly isRecoveryEnabled: boolean;
  readonly fallbackModels: readonly string[];
}

/** The plan for an error: what its job would go through if every attempt failed the same way. */
export function planFor(facts: PlanFacts): RecoveryPlan {
  const { graph, needs, servers, policy } = facts;
  const evidence = toEvidence(facts.error);
  const classified = facts.classify(evidence);
  const outcome = outcomeOf(evidence, classified);
  const serving = servers.serving(needs);
  const here = serving[0] ?? null;
  const rehearsal = rehearse({
    outcome,
    retry: {
      hasExecuted: evidence.channel !== "validation",
      error: classified,
      instanceId: here?.id ?? null,
      machineId: here?.machineId ?? null,
      card: here?.card ?? { totalBytes: null },
      isInstanceAlive: outcome !== "instance_died",
      wantedBytes: wantedMemory(evidence),
      freeReturns: 0,
      surplusReturns: 0,
      deathsOnInstances: [],
      time: {
        spentMs: 0,
        limitMs: facts.timeoutMs,
        extendedMs: 0,
        attemptMs: 0,
        steadyPercent: null,
      },
      canRestartInstance: false,
      isRecoveryEnabled: facts.isRecoveryEnabled,
      maxRetryAttempts: policy.maxRetryAttempts ?? facts.maxRetryAttempts,
    },
    servers: serving,
    change:
      graph === null
        ? null
        : toChangeFacts({
            graph,
            recipe: EMPTY_RECIPE,
            evidence,
            maxLoss: policy.maxLoss ?? "content",
            hasClass: (classType) => servers.haveClass(needs, classType),
            models: servers.models(needs),
            largestCardBytes: servers.largestCard(needs),
            fallbackModels: facts.fallbackModels,
          }),
  });
  const { subclass, confidence, strategy } = classified;
  const mayChange =
    graph === null &&
    outcome === "failed" &&
    facts.isRecoveryEnabled &&
    rehearsal.end.kind === "fail";
  return {
    success: true,
    class: classified.class,
    error_type: classified.custom?.errorType ?? classified.class,
    subclass,
    confidence,
    strategy,
    steps: [
      ...rehearsal.steps.map(({ rung, loss, explain, attempt, where, delayMs }) => ({
        rung: rung ?? "retry",
        loss,
        explain,
        attempt,
        where,
        delay_ms: delayMs,
      })),
      ...(mayChange ? dependingOnGraph(classified, policy) : []),
    ],
    end: rehearsal.end,
    skipped: rehearsal.skipped.map(({ rung, reason }) => ({ rung, reason })),
  };
}

/** Rungs that change a graph: without one they are named, and no more. */
const CHANGING: ReadonlySet<RungName> = new Set([
  "split_batch",
  "tiled_vae",
  "reduce_params",
  "same_model_other_name",
  "switch_model",
]);

function dependingOnGraph(
  classified: ClassifiedError,
  { maxLoss = "content", maxRetryAttempts }: JobPolicy,
): RecoveryPlan["steps"] {
  if (classified.custom !== undefined || maxRetryAttempts === 0) return [];
  const allowed = LOSS_LEVELS.slice(0, LOSS_LEVELS.indexOf(maxLoss) + 1);
  return LADDERS[classified.class]
    .filter(({ name, loss }) => CHANGING.has(name as RungName) && allowed.includes(loss))
    .map(({ name, loss, does }) => ({
      rung: name,
      loss,
      explain: `${does}, as far as the graph allows it`,
      attempt: null,
      where: "anywhere" as const,
      delay_ms: 0,
    }));
}

function outcomeOf(
  { channel }: FailureEvidence,
  { class: errorClass }: ClassifiedError,
): FailedOutcome {
  if (channel === "process_exit" || errorClass === "instance_crash") return "instance_died";
  return channel === "stall" ? "stalled" : "failed";
}

/** A bare message counts as one of ComfyUI's own, as `holdfast classify` takes it. */
function toEvidence(error: RecoveryPlanRequest["error"]): FailureEvidence {
  if (typeof error === "string") return limitEvidence({ channel: "execution", message: error });
  const channel = EVIDENCE_CHANNELS.find((known) => known === error.channel) ?? "execution";
  return limitEvidence({ ...(error as Omit<FailureEvidence, "channel">), channel });
}
