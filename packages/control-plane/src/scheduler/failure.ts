/** What the control plane makes of an attempt that did not complete its job. Pure. */
import { SURPLUS, type AttemptOutcome, type JobError } from "@holdfast/contract";
import type { Graph, ModelNeed } from "@holdfast/comfyui/protocol";
import {
  decideRecovery,
  EMPTY_RECIPE,
  findFieldFault,
  hasChangingRungs,
  LOSS_LEVELS,
  toChangeFacts,
  wantedMemory,
  type ChangeFacts,
  type ClassifiedError,
  type Classifier,
  type FailureEvidence,
  type LossLevel,
  type ModelReplacement,
  type OtherInstance,
  type Recipe,
  type Recovery,
  type RetryDecision,
  type RetryOutcome,
  type TimeFacts,
} from "@holdfast/recovery";
import { assertNever, type Random } from "@holdfast/runtime";
import type { Needs } from "../machines/model.ts";
import type { JobPlan } from "./model.ts";
import type { EarlierEnds, FailureFacts, JobChange } from "./outcome-store.ts";
import type { Servers } from "../machines/servers.ts";

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
  readonly maxRetryAttempts: number;
  readonly recoveryEnabled: boolean;
  /** What to take for a checkpoint of which nothing alike is there, in this order. */
  readonly fallbackModels: readonly string[];
  /** The caller's own graph; null when nothing would be changed in it ({@link wantsGraph}). */
  readonly graph: Graph | null;
  /** What the job needs of an instance, as it ran. */
  readonly needs: Needs;
  readonly servers: Servers;
  /** Whether a machine offers to fetch the model that is missing. */
  readonly isModelFetchable: boolean;
  /** How long a retry has to wait because too much is retried now; 0 within the budget. */
  readonly budgetDelayMs: number;
}

/** What to write: the attempt's end and the job's next state. */
export interface FailureVerdict {
  readonly attemptOutcome: string;
  readonly error: JobError | null;
  /** What the evidence was classified as; null for free ends. */
  readonly classified: ClassifiedError | null;
  readonly evidence: FailureEvidence | null;
  readonly decision: RetryDecision;
  /** The change of the graph that the next attempt runs with; null for none. */
  readonly graphChange: Recovery["change"];
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
  return outcome.kind === "failed" && classified !== null && hasChangingRungs(classified);
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
  const recovery = decideRecovery(
    {
      outcome: retryOutcome,
      hasExecuted: context.started,
      error: classified ?? UNCLASSIFIED,
      instanceId: facts.instanceId,
      machineId: context.servers.machineOf(facts.instanceId),
      card: context.servers.cardOf(facts.instanceId),
      isInstanceAlive: extraOf(evidence)["interruptConfirmed"] === true,
      wantedBytes: evidence === null ? null : wantedMemory(evidence),
      earlierFailures: context.earlier.failures,
      freeReturns: context.earlier.freeReturns,
      surplusReturns: context.earlier.surplusReturns,
      deathsOnInstances: deadInstances,
      others: othersOf(context),
      time: timeOf(context, evidence),
      isModelFetchable: context.isModelFetchable,
      canRestartInstance: context.servers.canRestart(facts.instanceId),
      isRecoveryEnabled: context.recoveryEnabled,
      maxRetryAttempts: facts.maxRetryAttempts ?? context.maxRetryAttempts,
    },
    context.graph === null ? null : changeFacts(context, context.graph, evidence),
    random,
  );
  const { change } = recovery;
  const decision = withinBudget(recovery.decision, context.budgetDelayMs);
  const error = classified === null || evidence === null ? null : toJobError(classified, evidence);
  return {
    attemptOutcome: outcome.kind,
    error,
    classified,
    evidence,
    decision,
    graphChange: change,
    change: changeOf(context, { decision, change }, error, deadInstances),
  };
}

/** What is over the budget of retries waits; what is free is not counted. */
function withinBudget(decision: RetryDecision, budgetDelayMs: number): RetryDecision {
  if (decision.kind !== "retry" || decision.isFree || decision.delayMs >= budgetDelayMs) {
    return decision;
  }
  const words = `Much fails at this time, so it waits ${String(Math.ceil(budgetDelayMs / 1_000))} s first.`;
  return { ...decision, delayMs: budgetDelayMs, explain: `${decision.explain} ${words}` };
}

/** Instances that could run the job and that it need not avoid. */
function othersOf({ servers, needs, facts }: FailureContext): readonly OtherInstance[] {
  return servers
    .serving(needs)
    .filter(({ id }) => id !== facts.instanceId && !facts.avoidInstances.includes(id));
}

/** No sign for longer than this is no steady progress. */
const STEADY_WITHIN_MS = 60_000;

function timeOf({ facts, executeMs }: FailureContext, evidence: FailureEvidence | null): TimeFacts {
  const extendedMs = facts.plan?.extendedMs ?? 0;
  const { percent } = extraOf(evidence);
  const sinceLastSignMs = evidence?.timing?.sinceLastSignMs ?? Infinity;
  return {
    spentMs: facts.executionMs + executeMs,
    limitMs: facts.timeoutMs + extendedMs,
    extendedMs,
    attemptMs: executeMs,
    steadyPercent:
      typeof percent === "number" && sinceLastSignMs < STEADY_WITHIN_MS ? percent : null,
  };
}

/** Agents of other versions leave it out, or write what they like. */
function extraOf(evidence: FailureEvidence | null): Readonly<Record<string, unknown>> {
  const extra: unknown = evidence?.extra;
  return typeof extra === "object" && extra !== null ? { ...extra } : {};
}

function changeFacts(
  { facts, servers, needs, fallbackModels }: FailureContext,
  graph: Graph,
  evidence: FailureEvidence | null,
): ChangeFacts {
  return toChangeFacts({
    graph,
    recipe: facts.plan?.recipe ?? EMPTY_RECIPE,
    evidence,
    maxLoss: facts.maxLoss ?? "content",
    hasClass: (classType) => servers.haveClass(needs, classType),
    models: servers.models(needs),
    largestCardBytes: servers.largestCard(needs),
    fallbackModels,
  });
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
  { decision, change }: Pick<Recovery, "decision" | "change">,
  error: JobError | null,
  deadInstances: readonly string[],
): JobChange {
  const { facts } = context;
  const base = {
    executionMs: context.executeMs,
    deadInstances,
    avoidInstances: facts.avoidInstances,
    preferInstance: null,
    failureCount: facts.failureCount,
    recoveryCount: facts.recoveryCount,
    // What was to be done before the attempt that just ended is done, unless it never began.
    plan:
      facts.plan === null || !context.started
        ? facts.plan
        : { ...facts.plan, before: "nothing" as const },
    error: error ?? null,
    startsLineage: false,
    needs: null,
  };
  if (decision.kind !== "retry") {
    const isTimeout = decision.reason === "out_of_time" || error?.class === "timeout";
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
    // Another graph may run where the one before it failed.
    avoidInstances:
      change === null ? [...new Set([...facts.avoidInstances, ...decision.avoid])] : [],
    preferInstance: decision.where === "same" ? facts.instanceId : null,
    poison: false,
    waitingReason: decision.explain,
    startsLineage: change !== null && change.loss !== "none",
    ...withNeeds(
      planAfter(decision, change, base.plan, facts.instanceId),
      change === null ? null : needsAfter(context, change.recipe),
    ),
  };
}

/** A plan keeps what the caller's own graph needs: a new round begins with that again. */
function withNeeds(
  plan: JobPlan | null,
  needs: JobChange["needs"],
): Pick<JobChange, "plan" | "needs"> {
  if (plan === null || needs === null) return { plan, needs };
  return { plan: { ...plan, ownNeeds: needs.own }, needs };
}

function planAfter(
  decision: Extract<RetryDecision, { kind: "retry" }>,
  change: Recovery["change"],
  plan: JobPlan | null,
  instanceId: string,
): JobPlan | null {
  const version = (plan?.version ?? 0) + 1;
  const { before, extendMs } = decision;
  if (change !== null) return { ...plan, version, before: "nothing", ...changedPlan(plan, change) };
  if (before === "nothing" && extendMs === 0) return plan;
  return {
    patch: null,
    ...plan,
    version,
    before,
    ...(before === "restart_instance" && { restartAt: instanceId }),
    ...(extendMs > 0 && { extendedMs: (plan?.extendedMs ?? 0) + extendMs }),
  };
}

/** The plan's part that a change of the graph writes. */
export function changedPlan(
  plan: JobPlan | null,
  { patch, recipe, loss, explain }: NonNullable<Recovery["change"]>,
): Pick<JobPlan, "patch" | "recipe" | "changes"> {
  const before = plan?.changes ?? { loss: "none" as const, steps: [] };
  const changes = { loss: worse(before.loss, loss), steps: [...before.steps, explain] };
  return { patch, recipe, changes };
}

/** What the changed graph needs, where that is something else than before; null where it is not. */
function needsAfter({ needs, facts }: FailureContext, recipe: Recipe): JobChange["needs"] {
  const earlier = facts.plan?.recipe?.models?.length ?? 0;
  const added = (recipe.models ?? []).slice(earlier);
  if (added.length === 0) return null;
  return { own: facts.plan?.ownNeeds ?? needs, next: needsWith(needs, added) };
}

/** Needs in which these models took the place of others. */
export function needsWith(needs: Needs, replaced: readonly ModelReplacement[]): Needs {
  const models = new Map<string, ModelNeed>();
  for (const need of needs.models) {
    const { folder, name } = replaced.reduce<ModelNeed>(
      (model, one) =>
        model.folder === one.folder && model.name === one.from
          ? { folder: one.folder, name: one.to }
          : model,
      need,
    );
    models.set(`${folder}\n${name}`, { folder, name });
  }
  const sorted = [...models].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, model]) => model);
  return { nodeClasses: needs.nodeClasses, models: sorted };
}

function worse(a: LossLevel, b: LossLevel): LossLevel {
  return LOSS_LEVELS.indexOf(a) > LOSS_LEVELS.indexOf(b) ? a : b;
}

function toJobError(classified: ClassifiedError, evidence: FailureEvidence): JobError {
  const field = findFieldFault(evidence);
  return {
    class: classified.class,
    subclass: classified.subclass,
    message: evidence.message.slice(0, ERROR_MESSAGE_MAX).toWellFormed(),
    strategy: classified.strategy,
    confidence: classified.confidence,
    nodeId: evidence.nodeId ?? null,
    nodeType: evidence.nodeType ?? null,
    ...(field !== null && { field: { ...field, validValues: [...field.validValues] } }),
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
