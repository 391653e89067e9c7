/** What the outcomes of a check, one after the other, come to. */
import type { CheckStatus } from "./model.ts";

/** What one look gave. */
export type ProbeOutcome =
  | { readonly kind: "passed"; readonly detail: string }
  | { readonly kind: "failed"; readonly detail: string };

/** When failures count. */
export interface CheckRules {
  /** Failures in a row that make it failing. */
  readonly failures: number;
  /** A service that was started may fail for so long before its first pass. */
  readonly graceMs: number;
}

/** What is remembered from look to look. */
export interface CheckMemory {
  readonly failuresInRow: number;
  /** It has passed since the service was started. */
  readonly hasPassed: boolean;
  readonly status: CheckStatus;
}

/** Before the first look. */
export const UNCHECKED: CheckMemory = {
  failuresInRow: 0,
  hasPassed: false,
  status: { state: "pending", detail: null, checkedAt: null },
};

/**
 * Takes one more outcome into account. Fewer failures than `failures` leave the state as it was;
 * before the first pass a service stays pending for as long as the grace lasts, whatever is found.
 *
 * @param sinceStartMs Time since the service was started, or since looking began.
 */
export function nextCheck(
  memory: CheckMemory,
  outcome: ProbeOutcome,
  rules: CheckRules,
  times: { readonly sinceStartMs: number; readonly checkedAt: number },
): CheckMemory {
  const { checkedAt } = times;
  if (outcome.kind === "passed") {
    const status: CheckStatus = { state: "passing", detail: outcome.detail, checkedAt };
    return { failuresInRow: 0, hasPassed: true, status };
  }
  const failuresInRow = memory.failuresInRow + 1;
  const { hasPassed } = memory;
  const isInGrace = !hasPassed && times.sinceStartMs < rules.graceMs;
  const counts = failuresInRow >= rules.failures && !isInGrace;
  // What failed once may fail on until it passes: the grace is for a start alone.
  const state = memory.status.state === "failing" || counts ? "failing" : memory.status.state;
  const count = failuresInRow === 1 ? "once" : `${failuresInRow} times in a row`;
  const told = `${outcome.detail} (${count})`;
  const detail = state === "passing" ? `but the last look failed, ${told}` : told;
  return { failuresInRow, hasPassed, status: { state, detail, checkedAt } };
}
