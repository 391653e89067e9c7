import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  addPeak,
  addRun,
  addValue,
  NO_STATISTICS,
  PEAK_MEMORY,
  peakOf,
  SPREAD_MEMORY,
  typicalMs,
  withMeasurement,
  type Spread,
} from "./statistics.ts";

const times = (maxLength: number) =>
  fc.array(fc.integer({ min: 0, max: 3_600_000 }), { minLength: 1, maxLength });
const spreadOf = (values: readonly number[]): Spread => {
  const spread = values.reduce<Spread | null>((sum, value) => addValue(sum, value), null);
  if (spread === null) throw new Error("no values");
  return spread;
};

describe("a spread", () => {
  it("is the exact mean and deviation as long as it remembers all (T1)", () => {
    fc.assert(
      fc.property(times(SPREAD_MEMORY), (values) => {
        const { count, mean, variance } = spreadOf(values);
        const exact = values.reduce((sum, value) => sum + value, 0) / values.length;
        const squares = values.reduce((sum, value) => sum + (value - exact) ** 2, 0);
        expect(count).toBe(values.length);
        expect(mean).toBeCloseTo(exact, 4);
        expect(Math.sqrt(variance)).toBeCloseTo(Math.sqrt(squares / values.length), 3);
      }),
    );
  });

  it("is, beyond that, the values with weights that fade, and never out of their range", () => {
    fc.assert(
      fc.property(times(4 * SPREAD_MEMORY), (values) => {
        // By its definition: how much of each value is left after all that came later.
        const weights = values.map((_, at) =>
          values.reduce((left, __, later) => {
            const weight = 1 / Math.min(later + 1, SPREAD_MEMORY);
            if (later < at) return left;
            return later === at ? weight : left * (1 - weight);
          }, 1),
        );
        const exact = values.reduce((sum, value, at) => sum + value * (weights[at] ?? 0), 0);
        const { mean } = spreadOf(values);
        expect(mean).toBeCloseTo(exact, 3);
        expect(mean).toBeGreaterThanOrEqual(Math.min(...values) - 1e-6);
        expect(mean).toBeLessThanOrEqual(Math.max(...values) + 1e-6);
      }),
    );
  });

  it("follows a machine that became slower", () => {
    const before = Array.from({ length: 500 }, () => 1_000);
    const after = Array.from({ length: 200 }, () => 2_000);
    expect(spreadOf([...before, ...after]).mean).toBeGreaterThan(1_900);
  });
});

it("a peak is over none that it has seen, and under none of the last (T2)", () => {
  const few = times(3 * PEAK_MEMORY).map((values) => {
    return { values, peak: values.reduce(addPeak, NO_STATISTICS.stepSilenceMs) };
  });
  fc.assert(
    fc.property(few, ({ values, peak }) => {
      const found = peakOf(peak) ?? -1;
      expect(peak.count).toBe(values.length);
      expect(values).toContain(found);
      expect(found).toBeGreaterThanOrEqual(Math.max(...values.slice(-PEAK_MEMORY)));
    }),
  );
  const freak = [9_000, ...Array.from({ length: 2 * PEAK_MEMORY }, () => 10)];
  expect(peakOf(freak.reduce(addPeak, NO_STATISTICS.stepSilenceMs))).toBe(10);
});

describe("a run", () => {
  const run = { executeMs: 100, isCold: false, loadSilenceMs: 20, stepSilenceMs: 10 };

  it("counts by whether its models were in memory", () => {
    const cold = addRun(NO_STATISTICS, { ...run, executeMs: 900, isCold: true });
    const both = addRun(cold, run);
    expect(typicalMs(cold)).toBe(900);
    expect(typicalMs(both)).toBe(100);
    expect(both).toMatchObject({ coldMs: { count: 1, mean: 900 }, warmMs: { count: 1 } });
    expect([both.coldLoadSilenceMs.count, both.warmLoadSilenceMs.count]).toEqual([1, 1]);
  });

  it("that came from the cache alone says nothing", () => {
    const known = addRun(NO_STATISTICS, run);
    const cached = { ...run, executeMs: 1, stepSilenceMs: undefined };
    expect(addRun(known, cached)).toBe(known);
    // A graph that counts no steps is not of the cache.
    expect(addRun(NO_STATISTICS, cached).warmMs).toMatchObject({ count: 1 });
  });

  it("whose socket did not see all tells its time alone", () => {
    const blind = { executeMs: 5, isCold: undefined, loadSilenceMs: undefined };
    const known = addRun(NO_STATISTICS, { ...blind, stepSilenceMs: undefined });
    expect(typicalMs(known)).toBe(5);
    expect(known.stepSilenceMs.count + known.coldLoadSilenceMs.count).toBe(0);
  });
});

it("a measurement of few runs leaves what many runs showed", () => {
  fc.assert(
    fc.property(
      times(SPREAD_MEMORY - 1),
      fc.integer({ min: 0, max: 3_600_000 }),
      (values, warmMs) => {
        const learned = { ...NO_STATISTICS, warmMs: spreadOf(values) };
        const rest = { coldMs: null, loadMs: null, vramPeakBytes: null, longestSilenceMs: null };
        const { warmMs: both } = withMeasurement(learned, { ...rest, warmMs, runs: 1 });
        // One run by hand is a run as any other.
        expect(both?.mean).toBeCloseTo(spreadOf([...values, warmMs]).mean, 4);
        expect(both?.count).toBe(values.length + 1);
      },
    ),
  );
});

it("the same measurement once more changes nothing", () => {
  const measured = {
    coldMs: 9_000,
    warmMs: 2_000,
    loadMs: 6_000,
    vramPeakBytes: 7,
    longestSilenceMs: 4_000,
    runs: 12,
  };
  const learned = addRun(NO_STATISTICS, {
    executeMs: 1,
    isCold: false,
    loadSilenceMs: 5_000,
    stepSilenceMs: 1,
  });
  const once = withMeasurement(learned, measured);
  expect(withMeasurement(once, measured, true)).toEqual(once);
  expect(once).toMatchObject({ warmMs: { count: 13 }, coldMs: { count: 1 }, loadMs: 6_000 });
  expect(once.warmMs?.mean).toBeCloseTo((1 + 12 * 2_000) / 13, 6);
  expect(peakOf(once.stepSilenceMs)).toBe(4_000);
  expect(peakOf(once.warmLoadSilenceMs)).toBe(5_000);
  // What it does not tell stays.
  const less = { ...measured, coldMs: null, loadMs: null, vramPeakBytes: null };
  expect(withMeasurement(once, less, true)).toEqual(once);
});
