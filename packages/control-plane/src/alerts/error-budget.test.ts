import { BUILT_IN_RULES, evaluateAlerts, NO_ALERTS } from "@holdfast/alerts";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { budgetBurn } from "./error-budget.ts";
import type { EndsFrom } from "./failed-share.ts";

const MINUTE = 60_000;
const NOW = Date.parse("2026-01-31T12:07:30Z");
const minute = (ago: number, completed: number, failed: number): EndsFrom => ({
  at: Math.floor(NOW / MINUTE) * MINUTE - ago * MINUTE,
  completed,
  failed,
});
const burnOf = (...minutes: EndsFrom[]): number => budgetBurn(minutes, NOW)[0]?.value ?? NaN;
const fires = (...minutes: EndsFrom[]): boolean => {
  const rules = BUILT_IN_RULES.filter(({ name }) => name === "error_budget_burning");
  const samples = budgetBurn(minutes, NOW);
  return evaluateAlerts(rules, { told: [], samples }, NO_ALERTS, NOW).changes.length > 0;
};

describe("the burn of the error budget", () => {
  it("is the share of failed jobs over the 2 % that may fail, with the counts in words", () => {
    const [burn, failed] = budgetBurn([minute(1, 9, 1), minute(30, 85, 5)], NOW);
    expect(burn?.value).toBeCloseTo(3);
    expect(burn?.words).toBe(
      "6 of 100 jobs failed in the last hour, 1 of 10 in the last 5 min, 2% may",
    );
    expect(failed).toMatchObject({ metric: "error_budget_failed_jobs", value: 6 });
  });

  it("is over when the last minutes are well, and not there before an hour says so", () => {
    expect(burnOf(minute(1, 50, 0), minute(30, 0, 50))).toBe(0);
    expect(burnOf(minute(1, 0, 10), minute(30, 990, 0))).toBeCloseTo(0.5);
    expect(burnOf(minute(61, 0, 50))).toBe(0);
    expect(burnOf()).toBe(0);
  });

  it("goes on between the ends of heavy jobs", () => {
    const heavy = [10, 20, 30, 40, 50].map((ago) => minute(ago, 0, 1));
    expect(burnOf(...heavy)).toBeCloseTo(50);
    expect(budgetBurn(heavy, NOW)[0]?.words).toContain("5 of 5 in the last 51 min");
  });

  it("is never more than that of the hour, nor less than nothing", () => {
    const ends = fc.record({ ago: fc.nat(130), completed: fc.nat(20), failed: fc.nat(20) });
    fc.assert(
      fc.property(fc.array(ends, { maxLength: 60 }), (all) => {
        const minutes = all.map(({ ago, completed, failed }) => minute(ago, completed, failed));
        const hour = minutes.filter(({ at }) => at >= NOW - 60 * MINUTE);
        const failed = hour.reduce((total, one) => total + one.failed, 0);
        const ended = hour.reduce((total, one) => total + one.completed + one.failed, 0);
        const burn = burnOf(...minutes);
        expect(burn).toBeGreaterThanOrEqual(0);
        expect(burn).toBeLessThanOrEqual((ended === 0 ? 0 : failed / ended / 0.02) + 1e-9);
      }),
    );
  });
});

describe("its built-in rule", () => {
  it("fires when an eighth of the jobs fails, over an hour and now", () => {
    expect(fires(minute(2, 40, 8), minute(40, 40, 6))).toBe(true);
    expect(fires(minute(2, 95, 5))).toBe(false);
  });

  it("is silent about one failed job of three at night", () => {
    expect(fires(minute(2, 2, 1))).toBe(false);
    expect(fires(minute(2, 2, 4))).toBe(false);
    expect(fires(minute(2, 0, 5))).toBe(true);
  });
});
