import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BUCKET_MAX, bucketOf, bucketSeconds, latencyPercentiles } from "./latency-buckets.ts";

const times = fc.array(fc.double({ min: 0, max: 5_000_000, noNaN: true }), {
  minLength: 1,
  maxLength: 300,
});

describe("times in buckets", () => {
  it("give percentiles that are never too low, and at most 2 % too high", () => {
    fc.assert(
      fc.property(times, (all) => {
        const percentiles = latencyPercentiles(
          all.map((ms) => ({ bucket: bucketOf(ms), jobs: 1 })),
        );
        const sorted = all.map((ms) => Math.max(1, ms)).sort((a, b) => a - b);
        for (const [share, name] of [
          [0.5, "p50"],
          [0.9, "p90"],
          [0.95, "p95"],
          [0.99, "p99"],
        ] as const) {
          const exact = (sorted[Math.ceil(share * sorted.length) - 1] ?? 0) / 1_000;
          const told = percentiles?.[name] ?? 0;
          expect(told).toBeGreaterThanOrEqual(exact - 0.0011);
          expect(told).toBeLessThanOrEqual(exact * 1.0201 + 0.001);
        }
      }),
    );
  });

  it("add up: two halves say what the whole says", () => {
    fc.assert(
      fc.property(times, fc.nat(300), (all, cut) => {
        const buckets = all.map((ms) => ({ bucket: bucketOf(ms), jobs: 1 }));
        const sums = new Map<number, number>();
        for (const { bucket } of [...buckets.slice(cut), ...buckets.slice(0, cut)]) {
          sums.set(bucket, (sums.get(bucket) ?? 0) + 1);
        }
        const summed = [...sums].map(([bucket, jobs]) => ({ bucket, jobs }));
        expect(latencyPercentiles(summed)).toEqual(latencyPercentiles(buckets));
      }),
    );
  });

  it("have a last one, and say nothing of nothing", () => {
    expect(bucketOf(1e15)).toBe(BUCKET_MAX);
    expect(bucketOf(0)).toBe(0);
    expect(bucketSeconds(BUCKET_MAX) / 86_400).toBeGreaterThan(70);
    expect(latencyPercentiles([])).toBeNull();
  });
});
