/**
 * Times in buckets that grow by a fiftieth: counts of them add up over minutes and replicas, and any
 * percentile of the sum is at most 2 % too high. The same rule stands in SQL (`minutes-store.ts`).
 */
import type { LatencyBucket } from "./model.ts";

/** How much wider each bucket is than the one below. */
export const BUCKET_GROWTH = 1.02;
/** The last bucket: some 80 days. What takes longer counts as that. */
export const BUCKET_MAX = 1_140;

const MS_PER_SECOND = 1_000;

/** The bucket of a time; what took under a millisecond is in the first. */
export function bucketOf(ms: number): number {
  const at = Math.floor(Math.log(Math.max(1, ms)) / Math.log(BUCKET_GROWTH));
  return Math.min(BUCKET_MAX, at);
}

/** The longest time of a bucket, seconds. */
export function bucketSeconds(bucket: number): number {
  return BUCKET_GROWTH ** (bucket + 1) / MS_PER_SECOND;
}

/** Percentiles of some buckets, seconds; null where no job is in them. */
export interface LatencyPercentiles {
  readonly jobs: number;
  readonly p50: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
}

/** Nearest rank: the least time that so many jobs in a hundred did not exceed. */
export function latencyPercentiles(buckets: readonly LatencyBucket[]): LatencyPercentiles | null {
  const sorted = [...buckets].sort((a, b) => a.bucket - b.bucket);
  const jobs = sorted.reduce((sum, one) => sum + one.jobs, 0);
  if (jobs === 0) return null;
  const at = (share: number): number => {
    const rank = Math.max(1, Math.ceil(share * jobs));
    let below = 0;
    for (const one of sorted) {
      below += one.jobs;
      if (below >= rank) return threeDigits(bucketSeconds(one.bucket));
    }
    return threeDigits(bucketSeconds(BUCKET_MAX));
  };
  return { jobs, p50: at(0.5), p90: at(0.9), p95: at(0.95), p99: at(0.99) };
}

function threeDigits(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}
