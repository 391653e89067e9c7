/**
 * Something kept for each stretch of a run's time, however long it gets: when there are too many stretches,
 * they are twice as long and each two become one.
 */
import { invariant } from "@holdfast/runtime";

/** What is kept of a stretch. */
export interface BucketKind<Bucket> {
  /** Of the first stretches, ms. */
  readonly widthMs: number;
  /** Most stretches; even. */
  readonly bucketsMax: number;
  make(): Bucket;
  /** Adds the second to the first. */
  merge(into: Bucket, other: Bucket): void;
}

/** Stretches from 0 to the last one that was asked for, without gaps. */
export interface TimeBuckets<Bucket> {
  at(ms: number): Bucket;
  list(): readonly Bucket[];
  widthMs(): number;
}

/** No stretches yet. */
export function createTimeBuckets<Bucket>(kind: BucketKind<Bucket>): TimeBuckets<Bucket> {
  let { widthMs } = kind;
  let buckets: Bucket[] = [];
  const halve = (): void => {
    widthMs *= 2;
    const merged: Bucket[] = [];
    for (const [index, bucket] of buckets.entries()) {
      const into = merged[Math.floor(index / 2)];
      if (into === undefined) merged.push(bucket);
      else kind.merge(into, bucket);
    }
    buckets = merged;
  };
  return {
    at(ms) {
      invariant(Number.isFinite(ms), `a stretch of time was asked for ${ms}`);
      while (ms >= widthMs * kind.bucketsMax) halve();
      const index = Math.max(0, Math.floor(ms / widthMs));
      while (buckets.length <= index) buckets.push(kind.make());
      const bucket = buckets[index];
      invariant(bucket !== undefined, `no stretch of time has ${ms}`);
      return bucket;
    },
    list: () => buckets,
    widthMs: () => widthMs,
  };
}
