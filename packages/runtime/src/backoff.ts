import type { Random } from "./random.ts";

/** How the delay before the next attempt grows. All times in milliseconds. */
export interface BackoffPolicy {
  readonly initialMs: number;
  readonly factor: number;
  readonly maxMs: number;
  /** Share of the delay that is random, 0…1: 0.2 gives 80–100 % of the nominal delay. */
  readonly jitter: number;
}

/**
 * The delay before try number `attempt` (1 = after the first failure).
 * Never over `maxMs`; `attempt` below 1 counts as 1.
 */
export function backoffMs(policy: BackoffPolicy, attempt: number, random: Random): number {
  const exponent = Math.min(Math.max(attempt, 1) - 1, 64);
  const nominal = Math.min(policy.initialMs * policy.factor ** exponent, policy.maxMs);
  return Math.round(nominal * (1 - policy.jitter * random.next()));
}
