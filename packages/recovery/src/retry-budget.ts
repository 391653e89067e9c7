/**
 * How much retrying is allowed in a time: a bucket of tokens, so that an hour in which everything fails
 * does not become a storm of retries. Nothing is refused: what is over the budget waits longer.
 */
import type { Clock } from "@holdfast/runtime";

/** What fills the bucket and how much it holds. */
export interface RetryBudgetOptions {
  /** Tokens that the bucket holds at least, however few instances there are. */
  readonly burst: number;
  /** Tokens a minute for every instance that takes work; the bucket holds a minute of them. */
  readonly perInstanceMinute: number;
  /** Tokens that a completed job brings: where jobs come through, retrying is worth it. */
  readonly perCompletion: number;
  /** Longest wait, in ms. */
  readonly maxDelayMs: number;
}

/** The budget in force: no single instance can fail jobs faster than one in three seconds for long. */
export const RETRY_BUDGET: RetryBudgetOptions = {
  burst: 60,
  perInstanceMinute: 20,
  perCompletion: 2,
  maxDelayMs: 10 * 60_000,
};

/** Counts the retries of one process. */
export interface RetryBudget {
  /** How long a retry that was decided now has to wait for the budget; 0 within it. */
  delayMs(instances: number): number;
  /** A retry was queued. */
  spend(instances: number): void;
  /** Jobs were completed. */
  earn(jobs: number): void;
}

const MINUTE_MS = 60_000;

/** Makes a full {@link RetryBudget}. */
export function createRetryBudget(
  clock: Pick<Clock, "elapsed">,
  options: RetryBudgetOptions = RETRY_BUDGET,
): RetryBudget {
  let tokens: number = options.burst;
  let filledAt = clock.elapsed();
  const rateOf = (instances: number): number =>
    (options.perInstanceMinute * Math.max(1, instances)) / MINUTE_MS;
  const capacityOf = (instances: number): number =>
    Math.max(options.burst, options.perInstanceMinute * instances);
  const fill = (instances: number): void => {
    const now = clock.elapsed();
    tokens = Math.min(capacityOf(instances), tokens + (now - filledAt) * rateOf(instances));
    filledAt = now;
  };
  return {
    delayMs(instances) {
      fill(instances);
      // Each one over the budget waits its turn behind those before it.
      const lacking = 1 - tokens;
      if (lacking <= 0) return 0;
      return Math.min(options.maxDelayMs, Math.ceil(lacking / rateOf(instances)));
    },
    spend(instances) {
      fill(instances);
      // A debt of more than the longest wait would outlast the storm that made it.
      tokens = Math.max(tokens - 1, 1 - options.maxDelayMs * rateOf(instances));
    },
    earn(jobs) {
      tokens += jobs * options.perCompletion;
    },
  };
}
