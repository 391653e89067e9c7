import { assertNever, backoffMs, type Random } from "@holdfast/runtime";

import {
  CLASS_DECISIONS,
  CONNECTION_BACKOFF,
  fail,
  isRequestDeadline,
  retry,
  seconds,
} from "./class-decisions.ts";
import { ERROR_CLASS_DESCRIPTIONS, type ErrorClass } from "./error-class.ts";
import type { FailedOutcome, RetryDecision, RetryFacts } from "./retry-model.ts";

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
    rung: null,
    where: "anywhere",
    reason: outcome,
    delayMs: beyond < 0 ? 0 : backoffMs(CONNECTION_BACKOFF, beyond + 1, random),
    isFree: true,
    explain: FREE_EXPLANATIONS[outcome],
  });
}

function decideFailure(outcome: FailedOutcome, facts: RetryFacts, random: Random): RetryDecision {
  if (facts.time.spentMs >= facts.time.limitMs) return decideOutOfTime(facts);
  if (!facts.isRecoveryEnabled) {
    return fail(
      "recovery_disabled",
      "Error recovery is switched off, so the first failure ends it.",
    );
  }
  const errorClass = effectiveClass(outcome, facts.error.class);
  const ofClass = facts.earlierFailures.filter(
    (earlier) => effectiveClass(earlier.outcome, earlier.class) === errorClass,
  );
  const { title } = ERROR_CLASS_DESCRIPTIONS[errorClass];
  const decision = CLASS_DECISIONS[errorClass]({
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
  if (WAITING_CLASSES.has(errorClass) || isRequestDeadline(facts.error)) return decision;
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

/** The most an extension may be of what the first attempts to finish in time took. */
const EXTENSION_MARGIN = 1.25;

/**
 * The job's time is used up. A run that moved to the end gets once as much as it seems to need, where
 * that is no more than the limit itself: what it had finished is still in the instance's memory (F15).
 */
function decideOutOfTime(facts: RetryFacts): RetryDecision {
  const { spentMs, limitMs, extendedMs, attemptMs, steadyPercent } = facts.time;
  const used = `The job used up its ${seconds(Math.round(limitMs / 1_000) * 1_000)} of execution time.`;
  const mayGoOn =
    facts.outcome === "failed" &&
    facts.error.class === "timeout" &&
    extendedMs === 0 &&
    facts.isRecoveryEnabled &&
    facts.maxRetryAttempts > 0 &&
    facts.earlierFailures.length < RECOVERIES_MAX &&
    steadyPercent !== null &&
    steadyPercent > 0;
  if (!mayGoOn) return fail("out_of_time", used);
  const neededMs = Math.ceil(((attemptMs * 100) / steadyPercent) * EXTENSION_MARGIN);
  if (neededMs > limitMs) {
    return fail(
      "out_of_time",
      `${used} It was at ${String(Math.round(steadyPercent))} %: a whole run would take longer than twice the limit.`,
    );
  }
  return retry({
    rung: "longer_limit",
    where: "same",
    reason: "longer_limit",
    // What was spent over the limit, while the run was being stopped, is not taken off.
    extendMs: neededMs + Math.max(0, spentMs - limitMs),
    explain: `${used} It was moving, at ${String(Math.round(steadyPercent))} %: it resumes there once, with ${seconds(Math.round(neededMs / 1_000) * 1_000)} more.`,
  });
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
