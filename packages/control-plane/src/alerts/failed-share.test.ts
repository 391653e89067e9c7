import { BUILT_IN_RULES, evaluateAlerts, NO_ALERTS } from "@holdfast/alerts";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DAY_MS, failedShares, QUARTER_MS, wholeQuarters, type EndsFrom } from "./failed-share.ts";

const MINUTE = 60_000;
const NOW = Date.parse("2026-01-31T12:07:30Z");
const minute = (ago: number, completed: number, failed: number): EndsFrom => ({
  at: Math.floor(NOW / MINUTE) * MINUTE - ago * MINUTE,
  completed,
  failed,
});
const quarter = (ago: number, completed: number, failed: number): EndsFrom => ({
  at: Math.floor(NOW / QUARTER_MS) * QUARTER_MS - ago * QUARTER_MS,
  completed,
  failed,
});
const values = (minutes: EndsFrom[], quarters: EndsFrom[]): number[] =>
  failedShares(minutes, quarters, NOW)
    .slice(0, 2)
    .map(({ value }) => value);
const fires = (minutes: EndsFrom[]): boolean => {
  const rules = BUILT_IN_RULES.filter(({ name }) => name === "jobs_failing");
  const samples = failedShares(minutes, [quarter(4, 100, 1)], NOW);
  return evaluateAlerts(rules, { told: [], samples }, NO_ALERTS, NOW).changes.length > 0;
};

describe("the share of failed jobs", () => {
  it("is that of the last 15 minutes, against the day before them", () => {
    const day = [quarter(3, 95, 5), quarter(40, 100, 0)];
    const samples = failedShares([minute(2, 16, 4), minute(16, 0, 99)], day, NOW);
    expect(samples).toMatchObject([
      { metric: "jobs_failed_share", value: 0.2, words: "4 of 20; on the day before 2.5%" },
      { metric: "jobs_failed_share_rise", value: 8 },
      { metric: "jobs_failed_recently", value: 4 },
    ]);
  });

  it("rises without bound where there were no failures, and not at all where there are none", () => {
    expect(values([minute(1, 1, 1)], [quarter(4, 10, 0)])).toEqual([0.5, 1_000]);
    expect(values([minute(1, 1, 1)], [])).toEqual([0.5, 1_000]);
    expect(values([minute(1, 5, 0)], [quarter(4, 10, 5)])).toEqual([0, 0]);
    expect(values([], [])).toEqual([0, 0]);
  });

  it("does not count the quarter that overlaps with the last 15 minutes, nor what is a day old", () => {
    const others = [
      quarter(0, 0, 50),
      quarter(1, 0, 50),
      { at: NOW - DAY_MS - 1, completed: 0, failed: 50 },
    ];
    expect(values([minute(1, 1, 1)], [...others, quarter(2, 9, 1)])).toEqual([0.5, 5]);
  });
});

it("is no alert for one or two failed jobs, however few others there were", () => {
  expect(fires([minute(1, 2, 1)])).toBe(false);
  expect(fires([minute(1, 0, 1), minute(9, 0, 1)])).toBe(false);
  expect(fires([minute(1, 0, 2), minute(9, 0, 1)])).toBe(true);
  expect(fires([minute(1, 20, 3)])).toBe(true);
  expect(fires([minute(1, 97, 3)])).toBe(false);
});

it("keeps a quarter once it is over, with every minute in it", () => {
  const minutes = [minute(1, 1, 0), minute(8, 2, 1), minute(22, 3, 1), minute(110, 9, 9)];
  expect(wholeQuarters(minutes, NOW)).toEqual([quarter(1, 5, 2)]);
});

it("loses no end and counts none twice, however often it is looked", () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ ago: fc.nat(90), completed: fc.nat(9), failed: fc.nat(9) })),
      fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 6, maxLength: 12 }),
      (ends, pauses) => {
        const start = Math.floor(NOW / QUARTER_MS) * QUARTER_MS;
        const all = ends.map(({ ago, ...rest }) => ({ at: start + ago * MINUTE, ...rest }));
        const kept = new Map<number, EndsFrom>();
        let now = start;
        const look = (): void => {
          const seen = all.filter(({ at }) => at <= now && at > now - 120 * MINUTE);
          for (const one of wholeQuarters(seen, now)) kept.set(one.at, one);
        };
        for (const pause of pauses) {
          now += pause * MINUTE;
          look();
        }
        now = start + 105 * MINUTE;
        look();
        const count = (from: Iterable<EndsFrom>): number =>
          [...from].reduce((sum, { completed, failed }) => sum + completed + failed, 0);
        expect(count(kept.values())).toBe(count(all));
      },
    ),
  );
});
