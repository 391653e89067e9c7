import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createHistogram, VALUE_MAX, type HistogramBits } from "./histogram.ts";

const bitsArb = fc.constantFrom<HistogramBits>(5, 10);
/** Small and large ones alike: each length of bits is as probable. */
const valueArb = fc
  .tuple(fc.integer({ min: 0, max: 42 }), fc.double({ min: 0, max: 1, noNaN: true }))
  .map(([length, share]) => Math.min(VALUE_MAX, Math.floor(2 ** length * share)));
const valuesArb = fc.array(valueArb, { minLength: 1, maxLength: 200 });
const SHARES = [0, 0.5, 0.9, 0.95, 0.99, 1];

const filled = (values: readonly number[], bits: HistogramBits) => {
  const histogram = createHistogram(bits);
  for (const value of values) histogram.record(value);
  return histogram;
};
const nearestRank = (values: readonly number[], share: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(1, Math.ceil(share * sorted.length)) - 1] ?? Number.NaN;
};

describe("a histogram", () => {
  it("gives every percentile, too high by at most its share", () => {
    fc.assert(
      fc.property(valuesArb, bitsArb, (values, bits) => {
        const histogram = filled(values, bits);
        for (const share of SHARES) {
          const exact = nearestRank(values, share);
          const given = histogram.quantile(share) ?? Number.NaN;
          expect(given).toBeGreaterThanOrEqual(exact);
          expect(given).toBeLessThanOrEqual(exact + exact / 2 ** bits);
        }
      }),
    );
  });

  it("keeps maximum, mean and count exactly", () => {
    fc.assert(
      fc.property(valuesArb, (values) => {
        const histogram = filled(values, 10);
        expect(histogram.max()).toBe(Math.max(...values));
        expect(histogram.quantile(1)).toBe(Math.max(...values));
        expect(histogram.count()).toBe(values.length);
        const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
        expect(Math.abs((histogram.mean() ?? 0) - mean)).toBeLessThanOrEqual(mean * 1e-9);
      }),
    );
  });

  it("is the same merged as filled at once", () => {
    fc.assert(
      fc.property(valuesArb, valuesArb, bitsArb, (some, others, bits) => {
        const merged = filled(some, bits);
        merged.merge(filled(others, bits));
        const whole = filled([...some, ...others], bits);
        expect(merged.count()).toBe(whole.count());
        for (const share of SHARES) expect(merged.quantile(share)).toBe(whole.quantile(share));
        expect(merged.max()).toBe(whole.max());
      }),
    );
  });

  it("has nothing to tell without values", () => {
    const histogram = createHistogram();
    expect([histogram.quantile(0.5), histogram.max(), histogram.mean()]).toEqual([
      null,
      null,
      null,
    ]);
  });

  it("counts what is too large as the largest, and refuses what is no number", () => {
    const histogram = filled([Number.MAX_VALUE], 10);
    expect(histogram.max()).toBe(VALUE_MAX);
    expect(() => histogram.record(Number.NaN)).toThrow("given NaN");
    expect(() => histogram.record(-1)).toThrow("given -1");
  });
});
