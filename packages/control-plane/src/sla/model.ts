/** What a service delivered, and how long what it lost was missing. */

/** How jobs ended in a stretch of time. */
export interface ServiceCounts {
  readonly completed: number;
  /** Of the completed ones: after an attempt that failed. */
  readonly recovered: number;
  readonly failed: number;
  readonly timedOut: number;
  readonly cancelled: number;
  /** Files that completed jobs gave. */
  readonly outputs: number;
}

/** A stretch, and how long its completed jobs took. */
export interface ServiceStretch extends ServiceCounts {
  /** Epoch ms of its beginning. */
  readonly at: number;
  readonly latency: readonly LatencyBucket[];
}

/** Jobs that took about as long: see `latency-buckets.ts`. */
export interface LatencyBucket {
  readonly bucket: number;
  readonly jobs: number;
}

/** A stretch of time, epoch ms. */
export interface TimeRange {
  readonly from: number;
  readonly to: number;
}

/** A machine or an instance that was lost. */
export interface SlotLoss {
  readonly kind: "machine" | "instance";
  readonly name: string;
  readonly reason: string | null;
  /** Epoch ms. */
  readonly lostAt: number;
  /** Epoch ms; null as long as it is missing. */
  readonly refilledAt: number | null;
  /** Epoch ms: given up on purpose, or its machine ended, before it was back. */
  readonly leftAt: number | null;
}

/** A machine of the fleet that failed, or became healthy, in its pool. */
export interface PoolEvent {
  readonly pool: string;
  readonly name: string;
  readonly reason: string | null;
  readonly healthyAt: number | null;
  /** Epoch ms of a failed end; null for one that did not fail. */
  readonly failedAt: number | null;
  /** Epoch ms of an end on purpose; null for one that failed, or has not ended. */
  readonly endedAt: number | null;
}

/** Most losses of one answer: the last ones. */
export const LOSSES_MAX = 500;
/** Minutes and losses are kept so long. */
export const KEPT_DAYS = 400;
/**
 * After so long no transaction that ended a job in a minute is still open: a minute is counted anew
 * until then. Statements are given up far sooner.
 */
export const SETTLED_MS = 120_000;
