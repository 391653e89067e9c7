import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { idStartAt } from "./id-time.ts";
import {
  BATCH_FIRST,
  KEEP_ALL,
  nextBatchSize,
  removalHint,
  removalRules,
  type JobRetention,
} from "./retention.ts";

const HOUR_MS = 3_600_000;

describe("rules", () => {
  test("each state goes after its own time", () => {
    expect(removalRules({ endedHours: 24, failedHours: 48 })).toEqual([
      { state: "completed", olderThanMs: 24 * HOUR_MS },
      { state: "failed", olderThanMs: 48 * HOUR_MS },
      { state: "timeout", olderThanMs: 48 * HOUR_MS },
      { state: "cancelled", olderThanMs: 24 * HOUR_MS },
    ]);
  });

  test("0 keeps for ever", () => {
    expect(removalRules(KEEP_ALL)).toEqual([]);
    expect(removalRules({ endedHours: 1, failedHours: 0 }).map((rule) => rule.state)).toEqual([
      "completed",
      "cancelled",
    ]);
    expect(removalRules({ endedHours: 0, failedHours: 1 }).map((rule) => rule.state)).toEqual([
      "failed",
      "timeout",
    ]);
  });
});

describe("batches", () => {
  test("grow while they are quick, shrink when they take long, more when they fail", () => {
    expect(nextBatchSize(100, 10)).toBe(200);
    expect(nextBatchSize(100, 30)).toBe(100);
    expect(nextBatchSize(100, 500)).toBe(50);
    expect(nextBatchSize(100, "failed")).toBe(12);
  });

  test("stay within their bounds, and find a size whose time is short", () => {
    const anyTook = fc.oneof(fc.integer({ min: 0, max: 60_000 }), fc.constant("failed" as const));
    fc.assert(
      fc.property(fc.array(anyTook), (all) => {
        const size = all.reduce<number>(nextBatchSize, BATCH_FIRST);
        expect(size).toBeGreaterThanOrEqual(1);
        expect(size).toBeLessThanOrEqual(1_000);
        expect(Number.isInteger(size)).toBe(true);
      }),
    );
    fc.assert(
      fc.property(fc.double({ min: 0.01, max: 45, noNaN: true }), (msPerJob) => {
        let size = BATCH_FIRST;
        for (let batch = 0; batch < 20; batch += 1) size = nextBatchSize(size, size * msPerJob);
        expect(size * msPerJob).toBeLessThanOrEqual(50);
        expect(size === 1_000 || size * msPerJob >= 10).toBe(true);
      }),
    );
  });
});

describe("the hint", () => {
  const now = 1_700_000_000_000;
  const idOf = (ageHours: number): string => idStartAt(now - ageHours * HOUR_MS).padEnd(30, "0");
  const both: JobRetention = { endedHours: 720, failedHours: 2_160 };

  test("names the times when the job may have been removed", () => {
    const hint =
      ", or not any more: completed and cancelled jobs are removed 30 days after their end, failed ones after 90 days";
    expect(removalHint(idOf(721), now, both)).toBe(hint);
    expect(removalHint("4711", now, both)).toBe(hint);
  });

  test("is left out for a job too young to have been removed", () => {
    expect(removalHint(idOf(719), now, both)).toBe("");
    // Ended jobs are kept longer than failed ones here: the shorter time counts.
    expect(removalHint(idOf(2), now, { endedHours: 720, failedHours: 1 })).not.toBe("");
  });

  test("speaks of what is removed only", () => {
    expect(removalHint("1", now, KEEP_ALL)).toBe("");
    expect(removalHint("1", now, { endedHours: 5, failedHours: 0 })).toBe(
      ", or not any more: completed and cancelled jobs are removed 5 hours after their end",
    );
    expect(removalHint("1", now, { endedHours: 0, failedHours: 24 })).toBe(
      ", or not any more: jobs that failed are removed 1 day after their end",
    );
  });
});
