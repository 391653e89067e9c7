import { assertNever, backoffMs, type BackoffPolicy, type Random } from "@holdfast/runtime";

import { ERROR_CLASS_DESCRIPTIONS, type ErrorClass } from "./error-class.ts";
import type {
  FailedOutcome,
  RetryDecision,
  RetryFacts,
  RetryPlace,
  RetryPreparation,
  RetryReason,
} from "./retry-model.ts";

/*
 * What to do after an attempt that did not finish: the first decision, without changes to the graph.
 *
 * I1  A drain, a lost lease and a machine's death cost the job nothing (P5).
 * I2  A job during which two different instances died is poison (P5).
 * I3  No decision gives more than RECOVERIES_MAX retries for failures, nor FREE_RETURNS_MAX free ones (P6).
 *     Work that was staged too deep is no sign of trouble: it never ends a job, it only comes to wait.
 * I4  Failures of the job itself, waits for a connection, crashes and lack of memory apart, are retried
 *     at most `maxRetryAttempts` times; so often may the graph of one that lacks memory be changed with
 *     a loss (recover.ts). 0 is none at all.
 */

/** Most retries that one round of a job gets for failures, of all classes together. */
export const RECOVERIES_MAX = 10;
/** Most free returns to the queue (drain, lost lease, machine's death) in one round of a job. */
export const FREE_RETURNS_MAX = 50;
/** Free returns after which the next ones wait, longer each time. */
const FREE_RETURNS_AT_ONCE = 3;
/** The same for work that was staged too deep; each such return took seconds anyway. */
const SURPLUS_RETURNS_AT_ONCE = 20;
/** Different instances that may die during one job before it is set aside. */
export const POISON_DEATHS = 2;
/** Waits before asking an instance again that could not be reached: 2, 4, 8, 16, 30, 30 … seconds. */
export const CONNECTION_BACKOFF: BackoffPolicy = {
  initialMs: 2_000,
  factor: 2,
  maxMs: 30_000,
  jitter: 0.2,
};
/** How long another program's lock on a file is given to go away. */
export const FILE_LOCK_WAIT_MS = 5_000;

/** Classes with rungs that change nothing, each once for an instance: not counted against it either. */
const MEMORY_CLASSES: ReadonlySet<ErrorClass> = new Set([
  "cuda_out_of_memory",
  "host_out_of_memory",
]);
/** Classes that are retried patiently: counted against RECOVERIES_MAX, not against `maxRetryAttempts`. */
const WAITING_CLASSES: ReadonlySet<ErrorClass> = new Set(["network_error", "instance_crash"]);

/**
 * Decides what becomes of a job after an attempt that did not finish. Never throws on odd numbers:
 * a negative or fractional count only makes the caps bite earlier or at the next whole number.
 */
export function decideRetry(facts: RetryFacts, random: Random): RetryDecision {
  const { outcome } = facts;
  const deaths = new Set(facts.deathsOnInstances).size;
  const isDeath = outcome === "instance_died" || outcome === "machine_died";
  if (isDeath && deaths >= POISON_DEATHS) {
    return {
      kind: "poison",
      reason: "two_instances_died",
      explain: `${String(deaths)} different instances died while running this job, so it is set aside and not queued again by itself.`,
    };
  }
  switch (outcome) {
    case "drained":
    case "released":
    case "lease_lost":
    case "machine_died":
      return decideFree(outcome, facts.freeReturns, random);
    case "surplus":
      return freeRetry(outcome, facts.surplusReturns - SURPLUS_RETURNS_AT_ONCE, random);
    case "failed":
    case "stalled":
    case "instance_died":
      return decideFailure(outcome, facts, random);
    default:
      return assertNever(outcome);
  }
}

const FREE_EXPLANATIONS = {
  drained: "The machine is being emptied; the job goes to another one at no cost.",
  released: "The job was given back before it began; it is queued again at no cost.",
  surplus:
    "The job was given back before it began, because the one before it takes long; it is queued again at no cost.",
  lease_lost: "The lease on the job was lost; it is queued again at no cost.",
  machine_died: "The machine went away; the job is queued again at no cost.",
} as const;

function decideFree(
  outcome: Exclude<keyof typeof FREE_EXPLANATIONS, "surplus">,
  freeReturns: number,
  random: Random,
): RetryDecision {
  if (freeReturns >= FREE_RETURNS_MAX) {
    return fail(
      "too_many_free_returns",
      `The job was given back ${String(freeReturns)} times without ever failing by itself; somebody should look at the machines.`,
    );
  }
  return freeRetry(outcome, freeReturns - FREE_RETURNS_AT_ONCE, random);
}

/** Free, but not without pause for ever: whatever gives work back at once would spin with it. */
function freeRetry(
  outcome: keyof typeof FREE_EXPLANATIONS,
  beyond: number,
  random: Random,
): RetryDecision {
  return retry({
    where: "anywhere",
    reason: outcome,
    delayMs: beyond < 0 ? 0 : backoffMs(CONNECTION_BACKOFF, beyond + 1, random),
    isFree: true,
    explain: FREE_EXPLANATIONS[outcome],
  });
}

/** What the rule of one class looks at. */
interface Failure {
  readonly facts: RetryFacts;
  readonly class: ErrorClass;
  readonly title: string;
  readonly subclass: string | null;
  /** Earlier failures of the same class, anywhere. */
  readonly ofClass: number;
  /** Those of them on the same instance. */
  readonly ofClassHere: number;
  /** Different instances on which the job failed with this class, this one included. */
  readonly places: number;
  readonly random: Random;
}

function decideFailure(outcome: FailedOutcome, facts: RetryFacts, random: Random): RetryDecision {
  const errorClass = effectiveClass(outcome, facts.error.class);
  const ofClass = facts.earlierFailures.filter(
    (earlier) => effectiveClass(earlier.outcome, earlier.class) === errorClass,
  );
  const { title } = ERROR_CLASS_DESCRIPTIONS[errorClass];
  const decision = DECISIONS[errorClass]({
    facts,
    class: errorClass,
    title,
    subclass: facts.error.subclass,
    ofClass: ofClass.length,
    ofClassHere: ofClass.filter((earlier) => earlier.instanceId === facts.instanceId).length,
    places: new Set([facts.instanceId, ...ofClass.map((earlier) => earlier.instanceId)]).size,
    random,
  });
  return decision.kind === "retry" ? withinCaps(decision, errorClass, facts) : decision;
}

/** Keeps I3 and I4. */
function withinCaps(
  decision: RetryDecision,
  errorClass: ErrorClass,
  facts: RetryFacts,
): RetryDecision {
  const { title } = ERROR_CLASS_DESCRIPTIONS[errorClass];
  const recoveries = facts.earlierFailures.length;
  if (recoveries >= RECOVERIES_MAX) {
    return fail(
      "recoveries_used_up",
      `${title}: the job was already recovered ${String(recoveries)} times, the most allowed.`,
    );
  }
  if (WAITING_CLASSES.has(errorClass)) return decision;
  // What is done about memory before the graph is changed is done once for each instance.
  if (MEMORY_CLASSES.has(errorClass) && facts.maxRetryAttempts > 0) return decision;
  const counted = facts.earlierFailures.filter(
    (earlier) => !isUncounted(effectiveClass(earlier.outcome, earlier.class)),
  ).length;
  if (counted < facts.maxRetryAttempts) return decision;
  return fail(
    "retries_used_up",
    `${title}: all ${String(facts.maxRetryAttempts)} allowed retries were used.`,
  );
}

function isUncounted(errorClass: ErrorClass): boolean {
  return WAITING_CLASSES.has(errorClass) || MEMORY_CLASSES.has(errorClass);
}

/**
 * A stall is a timeout and a process's death a crash, whatever its evidence points to: a process
 * killed from outside looks just like one that ran out of memory, and I2 ends a job that kills.
 */
function effectiveClass(outcome: FailedOutcome, errorClass: ErrorClass): ErrorClass {
  switch (outcome) {
    case "failed":
      return errorClass;
    case "stalled":
      return "timeout";
    case "instance_died":
      return "instance_crash";
    default:
      return assertNever(outcome);
  }
}

const DECISIONS: Readonly<Record<ErrorClass, (failure: Failure) => RetryDecision>> = {
  workflow_error: decideWorkflowError,
  auth_error: () =>
    fail(
      "credential_refused",
      "A credential, licence or payment was refused; trying again cannot change that.",
    ),
  corrupt_model: decideCorruptModel,
  model_missing: elsewhereOnce,
  node_missing: elsewhereOnce,
  dependency_error: elsewhereOnce,
  disk_full: elsewhereOnce,
  permission_error: decidePermission,
  network_error: decideConnection,
  timeout: decideTimeout,
  instance_crash: decideCrash,
  cuda_out_of_memory: decideGpuMemory,
  host_out_of_memory: (failure) => preparedThenElsewhere(failure, "restart_instance"),
  gpu_fault: decideGpuFault,
  interrupted: decideInterrupted,
  unknown: decideUnknown,
  not_an_error: decideUnknown,
};

function decideWorkflowError(failure: Failure): RetryDecision {
  if (failure.subclass === "missing_input" && failure.ofClass === 0) {
    return retry({
      where: "same",
      reason: "upload_input_again",
      explain: "An input file was not on the instance; it is uploaded again and the job retried.",
    });
  }
  return fail(
    "same_graph_fails_everywhere",
    "The graph or its inputs are wrong; the same graph would fail the same way on every machine.",
  );
}

function decideCorruptModel(failure: Failure): RetryDecision {
  if (failure.subclass === "weights_mismatch") {
    return fail(
      "same_graph_fails_everywhere",
      "The model file is whole but does not fit its loader; every machine would say the same.",
    );
  }
  return elsewhereOnce(failure);
}

function decidePermission(failure: Failure): RetryDecision {
  if (failure.subclass === "file_in_use" && failure.ofClass === 0) {
    return retry({
      where: "same",
      reason: "wait_for_file_lock",
      delayMs: FILE_LOCK_WAIT_MS,
      explain: "Another program held a file open; the job is tried again in a few seconds.",
    });
  }
  return elsewhereOnce(failure);
}

function decideConnection(failure: Failure): RetryDecision {
  const delayMs = backoffMs(CONNECTION_BACKOFF, failure.ofClass + 1, failure.random);
  return retry({
    where: "anywhere",
    reason: "wait_for_connection",
    delayMs,
    explain: `The connection failed; the job is tried again in ${seconds(delayMs)}.`,
  });
}

function decideTimeout(failure: Failure): RetryDecision {
  const hasOther = failure.facts.otherInstancesCanServe;
  return retry({
    where: hasOther ? "elsewhere" : "anywhere",
    reason: "after_stall",
    explain: hasOther
      ? "Nothing moved within the time allowed; the job goes to another instance."
      : "Nothing moved within the time allowed; no other instance can serve, so it is tried again.",
  });
}

function decideCrash(failure: Failure): RetryDecision {
  if (failure.facts.otherInstancesCanServe) {
    return retry({
      where: "elsewhere",
      reason: "after_crash",
      explain: "ComfyUI died during the job; the job goes to another instance.",
    });
  }
  const delayMs = backoffMs(CONNECTION_BACKOFF, failure.ofClass + 1, failure.random);
  return retry({
    where: "anywhere",
    reason: "after_crash",
    delayMs,
    explain: `ComfyUI died during the job; the job is tried again in ${seconds(delayMs)}, once ComfyUI is back.`,
  });
}

function decideGpuMemory(failure: Failure): RetryDecision {
  // Memory that another process holds cannot be freed here, so the first rung is skipped.
  if (failure.subclass === "foreign_vram" && failure.facts.otherInstancesCanServe) {
    return elsewhereOnce(failure);
  }
  return preparedThenElsewhere(failure, "free_memory");
}

/** GPU faults that a restart cannot heal: the card, its driver or the build for it is at fault. */
const PERMANENT_GPU_SUBCLASSES: ReadonlySet<string> = new Set([
  "hardware",
  "driver",
  "unsupported_card",
]);

function decideGpuFault(failure: Failure): RetryDecision {
  if (failure.subclass !== null && PERMANENT_GPU_SUBCLASSES.has(failure.subclass)) {
    return elsewhereOnce(failure);
  }
  if (failure.subclass === "device_assert" && failure.ofClass > 0) {
    return fail(
      "same_graph_fails_everywhere",
      "The GPU refused an index for the second time: the fault is in the job's data, not in the card.",
    );
  }
  return preparedThenElsewhere(failure, "restart_instance");
}

function decideInterrupted(failure: Failure): RetryDecision {
  if (failure.ofClass > 0) {
    return fail(
      "tried_enough",
      "The job was interrupted from outside twice: somebody wants it stopped.",
    );
  }
  return retry({
    where: "same",
    reason: "after_foreign_interrupt",
    explain: "Somebody else interrupted the job on its instance; it is tried once more.",
  });
}

/** The same instance once, another one once, then the end: bounded cost for what nobody understands. */
function decideUnknown(failure: Failure): RetryDecision {
  if (failure.ofClass === 0) {
    return retry({
      where: "same",
      reason: "once_more",
      explain: `${failure.title}: the job is tried once more on the same instance.`,
    });
  }
  return failure.ofClass === 1 ? elsewhere(failure) : triedEnough(failure);
}

/** Another instance, once for each class; where there is none the job fails with the reason. */
function elsewhereOnce(failure: Failure): RetryDecision {
  return failure.ofClass === 0 ? elsewhere(failure) : triedEnough(failure);
}

/** Each instance twice, the second time prepared; two instances at most: then it is the job's fault. */
function preparedThenElsewhere(
  failure: Failure,
  before: Exclude<RetryPreparation, "nothing">,
): RetryDecision {
  if (failure.ofClassHere > 0) {
    return failure.places > 1 ? triedEnough(failure) : elsewhere(failure);
  }
  if (before === "restart_instance" && !failure.facts.canRestartInstance) {
    return withoutRestart(failure);
  }
  const isFreeing = before === "free_memory";
  return retry({
    where: "same",
    before,
    reason: isFreeing ? "free_memory_first" : "restart_first",
    explain: isFreeing
      ? `${failure.title}: memory is freed first, then the job is tried again.`
      : `${failure.title}: the instance is restarted and the job is tried there again.`,
  });
}

function triedEnough(failure: Failure): RetryDecision {
  return fail("tried_enough", `${failure.title}: it happened again after everything worth trying.`);
}

function elsewhere(failure: Failure): RetryDecision {
  if (!failure.facts.otherInstancesCanServe) {
    return fail("nobody_else_can_serve", `${failure.title}: no other instance can run this job.`);
  }
  return retry({
    where: "elsewhere",
    reason: "try_elsewhere",
    explain: `${failure.title}: the job goes to another instance.`,
  });
}

/** The rung of a restart is left out where the instance is not ours to restart. */
function withoutRestart(failure: Failure): RetryDecision {
  if (failure.places > 1) return triedEnough(failure);
  if (failure.facts.otherInstancesCanServe) return elsewhere(failure);
  if (failure.ofClass > 0) return triedEnough(failure);
  return retry({
    where: "anywhere",
    reason: "once_more",
    explain: `${failure.title}: the instance is not ours to restart and no other can serve; the job is tried once more.`,
  });
}

function retry(plan: {
  readonly where: RetryPlace;
  readonly reason: RetryReason;
  readonly explain: string;
  readonly delayMs?: number;
  readonly before?: RetryPreparation;
  readonly isFree?: boolean;
}): RetryDecision {
  return { kind: "retry", delayMs: 0, before: "nothing", isFree: false, ...plan };
}

function fail(reason: RetryReason, explain: string): RetryDecision {
  return { kind: "fail", reason, explain };
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(ms % 1_000 === 0 ? 0 : 1)} s`;
}
