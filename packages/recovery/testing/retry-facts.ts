/** Facts of a failure, for tests of what is decided about it. */
import { seededRandom } from "@holdfast/runtime";
import type { ClassifiedError, ErrorClass } from "../src/error-class.ts";
import { decideRetry } from "../src/retry.ts";
import type { EarlierFailure, RetryFacts } from "../src/retry-model.ts";

export function classified(
  errorClass: ErrorClass,
  subclass: string | null = null,
): ClassifiedError {
  return {
    class: errorClass,
    subclass,
    confidence: 0.9,
    decidedBy: { kind: "pattern", rule: "test" },
    strategy: "RETRY",
  };
}

export function facts(changes: Partial<RetryFacts> = {}): RetryFacts {
  return {
    outcome: "failed",
    error: classified("unknown"),
    instanceId: "a",
    earlierFailures: [],
    freeReturns: 0,
    surplusReturns: 0,
    deathsOnInstances: [],
    machineId: "m1",
    card: { totalBytes: null },
    isInstanceAlive: false,
    wantedBytes: null,
    others: OTHERS,
    time: { spentMs: 0, limitMs: 60_000, extendedMs: 0, attemptMs: 0, steadyPercent: null },
    canRestartInstance: true,
    hasExecuted: true,
    isRecoveryEnabled: true,
    maxRetryAttempts: 5,
    ...changes,
  };
}

export const CARD_OF_UNKNOWN_SIZE = { totalBytes: null };
export const OTHERS = [{ id: "z", machineId: "m2", card: CARD_OF_UNKNOWN_SIZE }];

export function earlier(
  errorClass: ErrorClass,
  instanceId: string,
  outcome: EarlierFailure["outcome"] = "failed",
): EarlierFailure {
  return { outcome, class: errorClass, instanceId };
}

export const decide = (changes: Partial<RetryFacts> = {}) =>
  decideRetry(facts(changes), seededRandom(1));
export const decideError = (
  errorClass: ErrorClass,
  changes: Partial<RetryFacts> = {},
  subclass: string | null = null,
) => decide({ error: classified(errorClass, subclass), ...changes });
