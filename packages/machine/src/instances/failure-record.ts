import { backoffMs, type BackoffPolicy, type Random } from "@holdfast/runtime";

/** When an instance that fails is started again, and when no longer. All times in milliseconds. */
export interface FailurePolicy {
  readonly backoff: BackoffPolicy;
  /** Healthy for so long: what failed before is forgotten. */
  readonly minUptimeMs: number;
  /** So many failures in a row, or within {@link loopWindowMs}, are a crash loop. */
  readonly loopFailures: number;
  readonly loopWindowMs: number;
  /** In a crash loop it is tried only so often. */
  readonly loopRetryMs: number;
}

/**
 * How an instance has failed: ends that nobody asked for, starts that came to nothing, and processes
 * that had to be killed because they did not work. Ends that were asked for (drain, recycle, restart
 * by hand, stop) are none. Instants are of the monotonic clock.
 */
export interface FailureRecord {
  readonly inRow: number;
  /** Instants of the failures within the window, oldest first. */
  readonly recent: readonly number[];
  /** Stays until it was healthy for the minimum uptime, or somebody forgave it. */
  readonly isLooping: boolean;
  /** Not to be started before. */
  readonly retryAt: number;
}

/** Of an instance that has not failed. */
export const NO_FAILURES: FailureRecord = {
  inRow: 0,
  recent: [],
  isLooping: false,
  retryAt: -Infinity,
};

/** The record after one more failure at `at`. */
export function afterFailure(
  record: FailureRecord,
  at: number,
  policy: FailurePolicy,
  random: Random,
): FailureRecord {
  const inRow = record.inRow + 1;
  const recent = [...record.recent.filter((then) => then > at - policy.loopWindowMs), at];
  const isLooping =
    record.isLooping || inRow >= policy.loopFailures || recent.length >= policy.loopFailures;
  const delayMs = isLooping
    ? Math.max(policy.loopRetryMs, policy.backoff.initialMs)
    : backoffMs(policy.backoff, inRow, random);
  return {
    inRow,
    recent: recent.slice(-policy.loopFailures),
    isLooping,
    retryAt: at + delayMs,
  };
}

/**
 * The record of an instance that has been healthy for so long. Failures of the window stay: one that
 * dies every other minute is in a crash loop too, only slower.
 */
export function afterUptime(
  record: FailureRecord,
  healthyMs: number,
  policy: FailurePolicy,
): FailureRecord {
  if (healthyMs < policy.minUptimeMs) return record;
  if (record.inRow === 0 && !record.isLooping) return record;
  return { ...record, inRow: 0, isLooping: false, recent: record.isLooping ? [] : record.recent };
}
