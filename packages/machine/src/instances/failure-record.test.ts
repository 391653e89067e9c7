import { seededRandom } from "@holdfast/runtime";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { afterFailure, afterUptime, NO_FAILURES, type FailurePolicy } from "./failure-record.ts";

const policy: FailurePolicy = {
  backoff: { initialMs: 1_000, factor: 2, maxMs: 8_000, jitter: 0 },
  minUptimeMs: 60_000,
  loopFailures: 4,
  loopWindowMs: 600_000,
  loopRetryMs: 900_000,
};
const random = seededRandom(1);
const fail = (times: readonly number[]): typeof NO_FAILURES =>
  times.reduce((record, at) => afterFailure(record, at, policy, random), NO_FAILURES);

describe("failures", () => {
  test("the pause grows with each in a row", () => {
    expect([1, 2, 3].map((count) => fail(Array.from({ length: count }, () => 0)).retryAt)).toEqual([
      1_000, 2_000, 4_000,
    ]);
  });

  test("so many in a row are a crash loop, however far apart, and tried seldom", () => {
    const record = fail([0, 400_000, 800_000, 1_200_000]);
    expect(record).toMatchObject({ isLooping: true, retryAt: 2_100_000 });
    expect(fail([0, 400_000, 800_000]).isLooping).toBe(false);
  });

  test("so many within the window are one too, although it was healthy in between", () => {
    let record = NO_FAILURES;
    for (const at of [0, 100_000, 200_000, 300_000]) {
      record = afterFailure(afterUptime(record, 70_000, policy), at, policy, random);
    }
    expect(record).toMatchObject({ isLooping: true, inRow: 1 });
  });

  test("a crash loop lasts until it was healthy for the minimum uptime", () => {
    const looping = fail([0, 1, 2, 3]);
    expect(afterFailure(looping, 5_000_000, policy, random).isLooping).toBe(true);
    expect(afterUptime(looping, 59_999, policy)).toBe(looping);
    expect(afterUptime(looping, 60_000, policy)).toMatchObject({
      isLooping: false,
      inRow: 0,
      recent: [],
    });
    expect(afterUptime(NO_FAILURES, 60_000, policy)).toBe(NO_FAILURES);
  });

  test("it never waits longer than it should, never less than it must, and remembers little", () => {
    const gaps = fc.array(fc.integer({ min: 0, max: 2_000_000 }), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(gaps, fc.integer(), (steps, seed) => {
        const jittered = { ...policy, backoff: { ...policy.backoff, jitter: 0.5 } };
        const chance = seededRandom(seed);
        let at = 0;
        let record = NO_FAILURES;
        for (const gap of steps) {
          at += gap;
          const before = record;
          record = afterFailure(record, at, jittered, chance);
          const delay = record.retryAt - at;
          expect(delay).toBeGreaterThanOrEqual(500);
          expect(delay).toBeLessThanOrEqual(record.isLooping ? 900_000 : 8_000);
          expect(before.isLooping && !record.isLooping).toBe(false);
          expect(record.recent.length).toBeLessThanOrEqual(policy.loopFailures);
        }
      }),
    );
  });
});
