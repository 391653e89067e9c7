import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { rateDifference, rateInterval } from "./rates.ts";

const countArb = fc
  .integer({ min: 1, max: 500 })
  .chain((of) => fc.nat(of).map((count) => ({ count, of })));

describe("the interval of a rate", () => {
  it("is Wilson's", () => {
    const { low, high } = rateInterval({ count: 8, of: 10 });
    expect(low).toBeCloseTo(0.4902, 4);
    expect(high).toBeCloseTo(0.9433, 4);
    expect(rateInterval({ count: 0, of: 10 }).high).toBeCloseTo(0.2775, 4);
  });

  it("holds the rate, within 0 and 1", () => {
    fc.assert(
      fc.property(countArb, (rate) => {
        const { low, high } = rateInterval(rate);
        expect(low).toBeGreaterThanOrEqual(0);
        expect(low).toBeLessThanOrEqual(rate.count / rate.of + 1e-12);
        expect(high).toBeGreaterThanOrEqual(rate.count / rate.of - 1e-12);
        expect(high).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe("the interval of a difference of rates", () => {
  it("is Newcombe's", () => {
    // His example: 56 of 70 against 48 of 80, 0.2 (0.0524 to 0.3339).
    const { low, high } = rateDifference({ count: 48, of: 80 }, { count: 56, of: 70 });
    expect(low).toBeCloseTo(0.0524, 4);
    expect(high).toBeCloseTo(0.3339, 4);
  });

  it("turns round with its rates", () => {
    fc.assert(
      fc.property(countArb, countArb, (a, b) => {
        const there = rateDifference(a, b);
        const back = rateDifference(b, a);
        expect(there.low).toBeCloseTo(-back.high, 9);
        expect(there.high).toBeCloseTo(-back.low, 9);
      }),
    );
  });
});
