/** What the control plane makes of an attempt that did not complete its job. Pure. */
import { SURPLUS, type AttemptOutcome, type JobError } from "@holdfast/contract";
import type { Graph } from "@holdfast/comfyui/protocol";
import {
  decideRecovery,
  EMPTY_RECIPE,
  hasChangingRungs,
  LOSS_LEVELS,
  type ClassifiedError,
  type Classifier,
  type FailureEvidence,
  type LossLevel,
  type Recovery,
  type RetryDecision,
  type RetryOutcome,
} from "@holdfast/recovery";
import { assertNever, type Random } from "@holdfast/runtime";
import type { JobPlan } from "./model.ts";
import type { EarlierEnds, FailureFacts, JobChange } from "./outcome-store.ts";

/** An end that did not complete the job: what the agent reported, or what the reaper found. */
export type UnfinishedOutcome =
  | Exclude<AttemptOutcome, { readonly kind: "succeeded" }>
  | { readonly kind: "lease_lost"; readonly machineLost: boolean };

/** The facts a decision needs beside the job's own. */
export interface FailureContext {
  readonly outcome: UnfinishedOutcome;
  /** What its evidence is ({@link classifyOutcome}); null for an end that is nobody's failure. */
  readonly classified: ClassifiedError | null;
  /** Whether ComfyUI ever executed it: only then may the job be blamed for what died. */
  readonly started: boolean;
  readonly executeMs: number;
  readonly facts: FailureFacts;
  readonly earlier: EarlierEnds;
  readonly otherInstancesCanServe: boolean;
  readonly maxRetryAttempts: number;
  readonly recoveryEnabled: boolean;
  /** The caller's own graph; null when nothing would be changed in it ({@link wantsGraph}). */
  readonly graph: Graph | null;
  /** Whether every instance that could run the job has a class. */
  readonly hasClass: (classType: string) => boolean;
}

/** What to write: the attempt's end and the job's next state. */
export interface FailureVerdict {
  readonly attemptOutcome: string;
  readonly error: JobError | null;
  readonly evidence: FailureEvidence | null;
  readonly decision: RetryDecision;
  readonly change: JobChange;
}

/** Longest error text that a job's row keeps; the evidence on the attempt has all of it. */
const ERROR_MESSAGE_MAX = 2_000;

/** Says what an end is, once for all who ask; null for one that is nobody's failure. */
export function classifyOutcome(
  outcome: UnfinishedOutcome,
  classify: Classifier,
): ClassifiedError | null {
  const evidence = evidenceOf(outcome);
  return evidence === null ? null : classify(evidence);
}

/** Whether the judgement of an end may change the graph, and so has to see it. */
export function wantsGraph(
  outcome: UnfinishedOutcome,
  classified: ClassifiedError | null,
): boolean {
  return outcome.kind === "failed" && classified !== null && hasChangingRungs(classified.class);
}

/** Judges an attempt's end: class, decision, and the job's next state with its reason. */
export function judgeFailure(context: FailureContext, random: Random): FailureVerdict {
  const { outcome, classified, facts } = context;
  const evidence = evidenceOf(outcome);
  const retryOutcome = toRetryOutcome(outcome, context.started);
  const isDeath =
    context.started &&
    (outcome.kind === "instance_died" || (outcome.kind === "lease_lost" && outcome.machineLost));
  const deadInstances = isDeath
    ? [...new Set([...facts.deadInstances, facts.instanceId])]
    : [...facts.deadInstances];
  const spentMs = facts.executionMs + context.executeMs;
  const isOutOfTime = classified !== null && spentMs >= facts.timeoutMs;
  const { decision, change }: Recovery = isOutOfTime
    ? { decision: outOfTime(facts.timeoutMs), change: null }
    : decideRecovery(
        {
          outcome: retryOutcome,
          error: classified ?? UNCLASSIFIED,
          instanceId: facts.instanceId,
          earlierFailures: context.earlier.failures,
          freeReturns: context.earlier.freeReturns,
          surplusReturns: context.earlier.surplusReturns,
          deathsOnInstances: deadInstances,
          otherInstancesCanServe: context.otherInstancesCanServe,
          // Attached instances belong to somebody else: no restart.
          canRestartInstance: false,
          maxRetryAttempts: context.recoveryEnabled
            ? (facts.maxRetryAttempts ?? context.maxRetryAttempts)
            : 0,
        },
        context.graph === null
          ? null
          : {
              graph: context.graph,
              recipe: facts.plan?.recipe ?? EMPTY_RECIPE,
              failedNodeId: evidence?.nodeId ?? null,
              hasClass: context.hasClass,
              maxLoss: facts.maxLoss ?? "content",
            },
        random,
      );
  const error = classified === null || evidence === null ? null : toJobError(classified, evidence);
  return {
    attemptOutcome: outcome.kind,
    error,
    evidence,
    decision,
    change: changeOf(context, { decision, change }, error, deadInstances, isOutOfTime),
  };
}

function outOfTime(timeoutMs: number): RetryDecision {
  return {
    kind: "fail",
    reason: "tried_enough",
    explain: `The job used up its ${Math.round(timeoutMs / 1000)} s of execution time.`,
  };
}

const UNCLASSIFIED: ClassifiedError = {
  class: "unknown",
  subclass: null,
  confidence: 0,
  decidedBy: { kind: "none", rule: "free_end" },
  strategy: "RETRY",
};

function evidenceOf(outcome: UnfinishedOutcome): FailureEvidence | null {
  switch (outcome.kind) {
    case "failed":
    case "stalled":
    case "instance_died":
      return outcome.evidence as unknown as FailureEvidence;
    case "released":
    case "interrupted":
    case "lease_lost":
      return null;
    default:
      return assertNever(outcome);
  }
}

/** A staged attempt is never blamed (DESIGN §2): its failure with its instance is a free return. */
function toRetryOutcome(outcome: UnfinishedOutcome, started: boolean): RetryOutcome {
  switch (outcome.kind) {
    case "failed":
      return "failed";
    case "stalled":
      return started ? "stalled" : "lease_lost";
    case "instance_died":
      return started ? "instance_died" : "machine_died";
    case "released":
      return outcome.reason === SURPLUS ? "surplus" : "released";
    case "interrupted":
      return "drained";
    case "lease_lost":
      return outcome.machineLost ? "machine_died" : "lease_lost";
    default:
      return assertNever(outcome);
  }
}

function changeOf(
  context: FailureContext,
  { decision, change }: Recovery,
  error: JobError | null,
  deadInstances: readonly string[],
  isOutOfTime: boolean,
): JobChange {
  const { facts } = context;
  const base = {
    executionMs: context.executeMs,
    deadInstances,
    avoidInstances: facts.avoidInstances,
    failureCount: facts.failureCount,
    recoveryCount: facts.recoveryCount,
    // What was to be done before the attempt that just ended is done.
    plan: facts.plan === null ? null : { ...facts.plan, before: "nothing" as const },
    error: error ?? null,
    startsLineage: false,
  };
  if (decision.kind !== "retry") {
    const isTimeout = isOutOfTime || error?.class === "timeout";
    return {
      ...base,
      state: isTimeout && decision.kind === "fail" ? "timeout" : "failed",
      delayMs: 0,
      failureCount: facts.failureCount + 1,
      poison: decision.kind === "poison",
      error: error ?? fallbackError(decision.explain),
      waitingReason: null,
    };
  }
  return {
    ...base,
    state: decision.delayMs > 0 ? "recovering" : "queued",
    delayMs: decision.delayMs,
    failureCount: facts.failureCount + (decision.isFree ? 0 : 1),
    recoveryCount: facts.recoveryCount + (decision.isFree ? 0 : 1),
    avoidInstances: avoidedAfter(decision.where, change !== null, facts),
    poison: false,
    waitingReason: decision.explain,
    startsLineage: change !== null && change.loss !== "none",
    plan: planAfter(decision.before, change, base.plan),
  };
}

/** Another graph may run where the one before it failed. */
function avoidedAfter(
  where: "anywhere" | "same" | "elsewhere",
  hasChanged: boolean,
  facts: FailureFacts,
): readonly string[] {
  if (hasChanged) return [];
  if (where !== "elsewhere") return facts.avoidInstances;
  return [...new Set([...facts.avoidInstances, facts.instanceId])];
}

function planAfter(
  before: "nothing" | "free_memory" | "restart_instance",
  change: Recovery["change"],
  plan: JobPlan | null,
): JobPlan | null {
  const version = (plan?.version ?? 0) + 1;
  if (change !== null) {
    const { patch, recipe, loss, explain } = change;
    const before = plan?.changes ?? { loss: "none", steps: [] };
    const changes = { loss: worse(before.loss, loss), steps: [...before.steps, explain] };
    return { version, before: "nothing", patch, recipe, changes };
  }
  if (before !== "free_memory") return plan;
  return { patch: null, ...plan, version, before };
}

function worse(a: LossLevel, b: LossLevel): LossLevel {
  return LOSS_LEVELS.indexOf(a) > LOSS_LEVELS.indexOf(b) ? a : b;
}

function toJobError(classified: ClassifiedError, evidence: FailureEvidence): JobError {
  return {
    class: classified.class,
    subclass: classified.subclass,
    message: evidence.message.slice(0, ERROR_MESSAGE_MAX).toWellFormed(),
    strategy: classified.strategy,
    confidence: classified.confidence,
    nodeId: evidence.nodeId ?? null,
    nodeType: evidence.nodeType ?? null,
    ...(classified.custom === undefined ? {} : { customType: classified.custom.errorType }),
  };
}

function fallbackError(explain: string): JobError {
  return {
    class: "unknown",
    subclass: null,
    message: explain,
    strategy: "ABORT",
    confidence: 0,
    nodeId: null,
    nodeType: null,
  };
}
