import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { kneeOf } from "./knee.ts";

const curve = (...points: readonly (readonly [number, number])[]) =>
  points.map(([level, throughputPerMinute]) => ({ level, throughputPerMinute }));

describe("the knee of a throughput", () => {
  it("is the level after which more brings nothing", () => {
    expect(kneeOf(curve([1, 10], [2, 20], [4, 38], [8, 40], [16, 39]))).toEqual({
      kind: "knee",
      level: 4,
      throughputPerMinute: 38,
      firstGain: 10,
      laterGain: 0.5,
    });
  });

  it("may be the first level, where one card renders one job at a time", () => {
    expect(kneeOf(curve([1, 10], [2, 10.2], [4, 10.1]))).toMatchObject({ level: 1 });
  });

  it("is not a level that came out badly", () => {
    expect(kneeOf(curve([1, 10], [2, 20], [3, 20.2], [4, 40], [8, 41]))).toMatchObject({
      kind: "knee",
      level: 4,
    });
  });

  it("is not there while it grows, or with too few levels", () => {
    expect(kneeOf(curve([1, 10], [2, 20], [4, 40]))).toEqual({ kind: "still_growing", level: 4 });
    expect(kneeOf(curve([1, 10], [1, 12], [4, 40]))).toEqual({ kind: "too_few_levels", needed: 3 });
    expect(kneeOf([])).toEqual({ kind: "too_few_levels", needed: 3 });
  });

  it("takes levels in any order, and the mean of one that came twice", () => {
    expect(kneeOf(curve([4, 38], [1, 8], [16, 39], [1, 12], [2, 20], [8, 40]))).toMatchObject({
      level: 4,
      firstGain: 10,
    });
  });

  it("is where a service is full, whatever its capacity", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 15 }),
        fc.integer({ min: 1, max: 500 }),
        (slots, rate) => {
          const levels = Array.from({ length: 20 }, (_, n) => n + 1);
          const knee = kneeOf(
            levels.map((level) => ({ level, throughputPerMinute: Math.min(level, slots) * rate })),
          );
          expect(knee).toMatchObject({ kind: "knee", level: slots });
        },
      ),
    );
  });
});
