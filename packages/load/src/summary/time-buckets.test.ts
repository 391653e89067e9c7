import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createTimeBuckets } from "./time-buckets.ts";

const buckets = (bucketsMax = 4) =>
  createTimeBuckets<{ times: number[] }>({
    widthMs: 10,
    bucketsMax,
    make: () => ({ times: [] }),
    merge: (into, other) => into.times.push(...other.times),
  });

describe("stretches of time", () => {
  it("become fewer and longer when there are too many", () => {
    const some = buckets();
    for (const ms of [0, 15, 39, 41]) some.at(ms).times.push(ms);
    expect(some.widthMs()).toBe(20);
    expect(some.list().map(({ times }) => times)).toEqual([[0, 15], [39], [41]]);
  });

  it("keep everything in its place, in whatever order it comes", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1_000_000)), fc.integer({ min: 1, max: 20 }), (times, half) => {
        const some = buckets(half * 2);
        for (const ms of times) some.at(ms).times.push(ms);
        expect(some.list().length).toBeLessThanOrEqual(half * 2);
        expect(some.list().flatMap((one) => one.times)).toHaveLength(times.length);
        for (const [index, one] of some.list().entries()) {
          for (const ms of one.times) expect(Math.floor(ms / some.widthMs())).toBe(index);
        }
      }),
    );
  });
});
