import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { errorBudgetAt, type EndCount } from "./error-budget.ts";

const MINUTE = 60_000;
const NOW = Date.parse("2026-11-28T12:00:00Z");
const budget = { failedPercentMax: 2, budgetDays: 30 };
/** Ten jobs a minute over so many minutes until now; `failed(minutesAgo)` of them fail. */
const minutes = (count: number, failed: (ago: number) => number): readonly EndCount[] =>
  Array.from({ length: count }, (_, n) => ({
    fromMs: NOW - n * MINUTE,
    ended: 10,
    failed: failed(n),
  }));
const burning = (counts: readonly EndCount[], now = NOW) =>
  errorBudgetAt(counts, now, budget).windows.map(({ isBurning }) => isBurning);

describe("an error budget", () => {
  it("is used up by its failures", () => {
    const half = errorBudgetAt([{ fromMs: NOW, ended: 1_000, failed: 10 }], NOW, budget);
    expect(half).toMatchObject({ ended: 1_000, failed: 10, leftShare: 0.5 });
    const over = errorBudgetAt([{ fromMs: NOW, ended: 100, failed: 4 }], NOW, budget);
    expect(over.leftShare).toBeCloseTo(-1, 9);
    expect(errorBudgetAt([], NOW, budget)).toMatchObject({ leftShare: null, ended: 0 });
  });

  it("forgets what is older than its days, and knows nothing of what is to come", () => {
    const counts = [
      { fromMs: NOW - 31 * 24 * 60 * MINUTE, ended: 10, failed: 10 },
      { fromMs: NOW + MINUTE, ended: 10, failed: 10 },
      { fromMs: NOW, ended: 10, failed: 0 },
    ];
    expect(errorBudgetAt(counts, NOW, budget)).toMatchObject({ ended: 10, leftShare: 1 });
  });

  it("wakes somebody for an outage, and no more once it is over", () => {
    const outage = minutes(3 * 24 * 60, (ago) => (ago < 30 ? 10 : 0));
    expect(burning(outage)).toEqual([true, false, false]);
    // Ten minutes later all is well: the hour's window still burns, the five minutes' does not.
    const after = [
      ...outage,
      ...minutes(10, () => 0).map((one) => ({ ...one, fromMs: one.fromMs + 10 * MINUTE })),
    ];
    const view = errorBudgetAt(after, NOW + 10 * MINUTE, budget);
    expect(view.windows[0]?.longBurn).toBeGreaterThan(14.4);
    expect(view.windows[0]?.isBurning).toBe(false);
  });

  it("writes a ticket for what is a little too much for days", () => {
    expect(burning(minutes(3 * 24 * 60, (ago) => (ago % 3 === 0 ? 1 : 0)))).toEqual([
      false,
      false,
      true,
    ]);
  });

  it("wakes nobody for the only two jobs of a night", () => {
    expect(burning([{ fromMs: NOW, ended: 2, failed: 2 }])).toEqual([false, false, false]);
    expect(burning([{ fromMs: NOW, ended: 3, failed: 3 }])).toEqual([true, true, true]);
  });

  it("is gone with the first failure where none is allowed", () => {
    const none = { failedPercentMax: 0, budgetDays: 30 };
    const failed = errorBudgetAt([{ fromMs: NOW, ended: 10, failed: 1 }], NOW, none);
    expect(failed.leftShare).toBe(Number.NEGATIVE_INFINITY);
    expect(errorBudgetAt([{ fromMs: NOW, ended: 10, failed: 0 }], NOW, none).leftShare).toBe(1);
  });

  it("never alarms within the budget", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 50, max: 5_000 }), { maxLength: 50 }), (ends) => {
        const counts = ends.map((ended, n) => ({
          fromMs: NOW - n * 17 * MINUTE,
          ended,
          failed: Math.floor(ended * 0.0199),
        }));
        expect(burning(counts)).toEqual([false, false, false]);
      }),
    );
  });
});
