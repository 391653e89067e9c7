import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PACE_PAGES, paceOf, type RenderedSpan } from "./pace.ts";

const span = (startedAt: number, endedAt: number): RenderedSpan => ({ startedAt, endedAt });

describe("the pace of a book", () => {
  it("is what its pages took, beside each other or one after another", () => {
    expect(paceOf([span(0, 10), span(10, 20)], null, 20)).toEqual({ pages: 2, ms: 20 });
    expect(paceOf([span(0, 10), span(0, 20), span(5, 15)], null, 20)).toEqual({ pages: 3, ms: 20 });
    expect(paceOf([], null, 20)).toEqual({ pages: 0, ms: 0 });
  });

  it("counts what is rendered just now", () => {
    expect(paceOf([span(0, 10)], 10, 25)).toEqual({ pages: 1, ms: 25 });
  });

  it("leaves out the time between an end and a regenerate", () => {
    const elevenMinutes = 11 * 60_000;
    expect(paceOf([span(0, 1_000)], elevenMinutes, elevenMinutes + 500)).toEqual({
      pages: 1,
      ms: 1_500,
    });
  });

  it("is that of the last pages alone, from the end of the first of them on", () => {
    // All were given out at the beginning, and one ended each second.
    const spans = Array.from({ length: PACE_PAGES }, (_, at) => span(0, 200_000 + at * 1_000));
    expect(paceOf(spans, null, 299_000)).toEqual({ pages: PACE_PAGES - 1, ms: 99_000 });
  });

  it("knows nothing of pages that took no time", () => {
    expect(paceOf([span(5, 5)], null, 20)).toEqual({ pages: 0, ms: 0 });
  });

  it("is the same whatever time passes while nothing renders", () => {
    const times = fc.integer({ min: 0, max: 1_000 });
    fc.assert(
      fc.property(
        fc.array(fc.tuple(times, times), { minLength: 1, maxLength: PACE_PAGES + 1 }),
        fc.array(fc.tuple(times, times), { maxLength: 20 }),
        fc.integer({ min: 0, max: 1_000_000 }),
        (early, late, idle) => {
          const toSpans = (pairs: readonly (readonly [number, number])[], from: number) =>
            pairs.map(([a, b]) => span(from + Math.min(a, b), from + Math.max(a, b) + 1));
          const at = (from: number) =>
            paceOf(
              [...toSpans(early, 0), ...toSpans(late, from)].slice(-PACE_PAGES),
              null,
              from + 2_000,
            );
          expect(at(1_001 + idle)).toEqual(at(1_001));
        },
      ),
    );
  });
});
