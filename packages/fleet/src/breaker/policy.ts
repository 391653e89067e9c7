/** What the breaker goes by (CONTRACTS C2). */
export interface BreakerPolicy {
  /** Share of failed machines, over 0 and at most 1, from which nothing new is started. */
  readonly threshold: number;
  /** A machine that ended counts for so long. */
  readonly windowMs: number;
  /** With fewer machines in the window nothing is checked. */
  readonly minimum: number;
  /** Failures before this instant (epoch ms) are as if they had not been; null for none. */
  readonly clearedBefore: number | null;
}

const MS_PER_MINUTE = 60_000;

/** As `MAX_WORKER_FAILURE_RATE`, `FAILURE_WINDOW_MINUTES` and `MIN_WORKERS_FOR_RATE_CHECK` are unset. */
export const DEFAULT_BREAKER_POLICY: BreakerPolicy = {
  threshold: 0.8,
  windowMs: 30 * MS_PER_MINUTE,
  minimum: 5,
  clearedBefore: null,
};

/** Longest window: a week. */
export const WINDOW_MS_MAX = 7 * 24 * 60 * MS_PER_MINUTE;
/** Largest minimum. */
export const MINIMUM_MAX = 10_000;

/** What is wrong with a policy, in words that say what was expected; empty when nothing is. */
export function policyProblems(policy: BreakerPolicy): readonly string[] {
  const { threshold, windowMs, minimum } = policy;
  const problems: string[] = [];
  if (!(threshold > 0 && threshold <= 1)) {
    problems.push(`threshold: expected a share over 0 and at most 1, found ${threshold}`);
  }
  if (!(windowMs > 0 && windowMs <= WINDOW_MS_MAX)) {
    problems.push(
      `window: expected more than 0 and at most ${WINDOW_MS_MAX / MS_PER_MINUTE} minutes, found ${windowMs / MS_PER_MINUTE}`,
    );
  }
  if (!Number.isInteger(minimum) || minimum < 1 || minimum > MINIMUM_MAX) {
    problems.push(
      `minimum: expected a whole number of machines from 1 to ${MINIMUM_MAX}, found ${minimum}`,
    );
  }
  return problems;
}
