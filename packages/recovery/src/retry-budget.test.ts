import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createRetryBudget, type RetryBudgetOptions } from "./retry-budget.ts";

const OPTIONS: RetryBudgetOptions = {
  burst: 10,
  perInstanceMinute: 6,
  perCompletion: 2,
  maxDelayMs: 60_000,
};
function budget() {
  let now = 0;
  const clock = { elapsed: () => now };
  const made = createRetryBudget(clock, OPTIONS);
  return {
    ...made,
    pass: (ms: number) => {
      now += ms;
    },
    spendMany: (count: number, instances = 1) => {
      for (let n = 0; n < count; n += 1) made.spend(instances);
    },
  };
}

describe("a budget of retries", () => {
  it("lets a burst through, and then one at a time, each behind the other", () => {
    const retries = budget();
    retries.spendMany(10);
    expect(retries.delayMs(1)).toBe(10_000);
    retries.spend(1);
    expect(retries.delayMs(1)).toBe(20_000);
  });

  it("fills with time, and faster where more instances take work", () => {
    const retries = budget();
    retries.spendMany(12);
    retries.pass(10_000);
    expect(retries.delayMs(1)).toBe(20_000);
    retries.pass(10_000);
    expect(retries.delayMs(10)).toBe(0);
    retries.spendMany(30, 10);
    expect(retries.delayMs(10)).toBeLessThan(retries.delayMs(1));
  });

  it("fills with jobs that are completed", () => {
    const retries = budget();
    retries.spendMany(12);
    retries.earn(2);
    expect(retries.delayMs(1)).toBe(0);
  });

  it("holds a minute of its filling, at least the burst", () => {
    const retries = budget();
    retries.pass(3_600_000);
    retries.spendMany(60, 10);
    expect(retries.delayMs(10)).toBe(1_000);
  });
});

it("never lets anybody wait longer than the longest wait, nor less than not at all", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("spend"), instances: fc.nat({ max: 5 }) }),
    fc.record({ kind: fc.constant("earn"), jobs: fc.nat({ max: 3 }) }),
    fc.record({ kind: fc.constant("pass"), ms: fc.nat({ max: 20_000 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const retries = budget();
      for (const one of steps) {
        if ("instances" in one) retries.spend(one.instances);
        else if ("jobs" in one) retries.earn(one.jobs);
        else retries.pass(one.ms);
        const delay = retries.delayMs(1);
        expect(delay).toBeGreaterThanOrEqual(0);
        expect(delay).toBeLessThanOrEqual(OPTIONS.maxDelayMs);
      }
      // However long the storm was, it is over a while after it.
      retries.pass(OPTIONS.maxDelayMs * 6);
      expect(retries.delayMs(5)).toBe(0);
    }),
  );
});
