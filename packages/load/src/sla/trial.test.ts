import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { summaryOf } from "../../testing/sample-summary.ts";
import { DEFAULT_SLA } from "./targets.ts";
import { measuredTrial, trialPlan } from "./trial.ts";

describe("a trial with so many books", () => {
  it("has enough jobs for a percentile, and never more in flight than its books' windows", () => {
    expect(trialPlan(1, DEFAULT_SLA, 2)).toEqual({ inFlight: 2, jobs: 24 });
    expect(trialPlan(5, DEFAULT_SLA, 2)).toEqual({ inFlight: 10, jobs: 60 });
    expect(trialPlan(3, { ...DEFAULT_SLA, pagesPerBook: 1 }, 2)).toEqual({ inFlight: 3, jobs: 24 });
    const count = fc.integer({ min: 1, max: 200 });
    fc.assert(
      fc.property(count, count, count, (books, pagesPerBook, window) => {
        const { inFlight, jobs } = trialPlan(books, { ...DEFAULT_SLA, pagesPerBook }, window);
        expect(jobs).toBeGreaterThanOrEqual(Math.max(24, inFlight));
        expect(jobs % (books * pagesPerBook)).toBe(0);
      }),
    );
  });

  it("breaches by latency and failures, not by the throughput that it asked for", () => {
    const { summary } = summaryOf([]);
    const total = {
      count: 24,
      p50: 1_000,
      p90: 2_000,
      p95: 3_000,
      p99: 4_000,
      max: 4_000,
      mean: 1_500,
    };
    const slow = { ...total, p95: 46_000 };
    const of = (more: Partial<typeof summary>) =>
      measuredTrial(
        2,
        {
          ...summary,
          imagesPerMinute: 1,
          successRate: 1,
          phases: { ...summary.phases, total },
          ...more,
        },
        DEFAULT_SLA,
      );
    expect(of({})).toMatchObject({ books: 2, level: 2, isBreached: false, latencyP95Seconds: 3 });
    expect(of({ phases: { ...summary.phases, total: slow } }).isBreached).toBe(true);
    expect(of({ successRate: 0.9 })).toMatchObject({ isBreached: true, failedPercent: 10 });
    expect(of({ phases: { ...summary.phases, total: null } }).isBreached).toBe(true);
  });
});
