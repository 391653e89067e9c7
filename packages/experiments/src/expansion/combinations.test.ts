import { seededRandom } from "@holdfast/runtime";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createFreeDraws } from "./free-draws.ts";
import { createCombinations, type Exclusion } from "./combinations.ts";

interface Case {
  readonly sizes: readonly number[];
  readonly exclusions: readonly Exclusion[];
}

/** Up to five choices of up to four options, and exclusions of one to three of them. */
const cases: fc.Arbitrary<Case> = fc
  .array(fc.integer({ min: 1, max: 4 }), { maxLength: 5 })
  .chain((sizes) => {
    const condition = fc
      .nat(Math.max(0, sizes.length - 1))
      .chain((at) =>
        fc.tuple(
          fc.constant(at),
          fc.uniqueArray(fc.nat(Math.max(0, (sizes[at] ?? 1) - 1)), { minLength: 1 }),
        ),
      );
    const exclusion = fc
      .array(condition, { minLength: 1, maxLength: 3 })
      .map((all): Exclusion => new Map(all.map(([at, options]) => [at, new Set(options)])));
    return fc.record({
      sizes: fc.constant(sizes),
      exclusions: fc.array(exclusion, { maxLength: sizes.length === 0 ? 0 : 6 }),
    });
  });

const ones = (sizes: readonly number[]): readonly (readonly number[])[] =>
  sizes.map((size) => Array.from({ length: size }, () => 1));

/** All combinations by nested loops, the excluded ones filtered out. */
function byLoops({ sizes, exclusions }: Case): readonly (readonly number[])[] {
  let all: readonly (readonly number[])[] = [[]];
  for (const size of sizes) {
    all = all.flatMap((one) => Array.from({ length: size }, (_, option) => [...one, option]));
  }
  return all.filter((one) => !exclusions.some((exclusion) => isHit(one, exclusion)));
}

function isHit(one: readonly number[], exclusion: Exclusion): boolean {
  return [...exclusion].every(([at, options]) => options.has(one[at] ?? -1));
}

const of = (weights: readonly (readonly number[])[], exclusions: readonly Exclusion[]) => {
  const combinations = createCombinations(weights, exclusions);
  if (combinations === undefined) throw new Error("too entangled");
  return combinations;
};

describe("combinations", () => {
  test("are those of nested loops without the excluded ones, each at its rank", () => {
    fc.assert(
      fc.property(cases, (one) => {
        const wanted = byLoops(one);
        const combinations = of(ones(one.sizes), one.exclusions);
        expect(combinations.mass).toBe(wanted.length);
        expect(wanted.map((_, rank) => combinations.at(rank))).toEqual(wanted);
      }),
    );
  });

  test("by chance are never excluded ones", () => {
    fc.assert(
      fc.property(cases, fc.integer(), (one, seed) => {
        const weights = one.sizes.map((size) =>
          Array.from({ length: size }, (_, option) => (option + 1) / 7),
        );
        const combinations = of(weights, one.exclusions);
        if (byLoops(one).length === 0) {
          expect(combinations.mass).toBe(0);
          return;
        }
        const random = seededRandom(seed);
        for (let draw = 0; draw < 20; draw += 1) {
          const drawn = combinations.draw(random);
          expect(drawn.every((option, at) => option >= 0 && option < (one.sizes[at] ?? 0))).toBe(
            true,
          );
          expect(one.exclusions.some((exclusion) => isHit(drawn, exclusion))).toBe(false);
        }
      }),
    );
  });

  test("by chance are as likely as their weights, what is left out aside", () => {
    // a: 3 to 1, b: 1 to 1, without (1, 1): shares 3/7, 3/7, 1/7.
    const weights = [
      [0.75, 0.25],
      [0.5, 0.5],
    ];
    const both: Exclusion = new Map([
      [0, new Set([1])],
      [1, new Set([1])],
    ]);
    // Counted or drawn again: the one is as likely as the other.
    for (const draws of [of(weights, [both]), createFreeDraws(weights, [both], seededRandom(2))]) {
      const random = seededRandom(1);
      const counts = new Map<string, number>();
      for (let draw = 0; draw < 7_000; draw += 1) {
        const key = draws?.draw(random).join() ?? "";
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      expect([...counts.keys()].sort()).toEqual(["0,0", "0,1", "1,0"]);
      expect(counts.get("0,0")).toBeCloseTo(3_000, -2.5);
      expect(counts.get("0,1")).toBeCloseTo(3_000, -2.5);
      expect(counts.get("1,0")).toBeCloseTo(1_000, -2.5);
    }
  });

  test("are not drawn again where next to nothing is left", () => {
    const weights = [Array.from({ length: 1_000 }, () => 1)];
    const most: Exclusion = new Map([[0, new Set(Array.from({ length: 999 }, (_, at) => at))]]);
    expect(createFreeDraws(weights, [most], seededRandom(2))).toBeUndefined();
    expect(of(weights, [most]).draw(seededRandom(2))).toEqual([999]);
  });

  test("of a thousand million are counted without going through them", () => {
    const sizes = Array.from({ length: 9 }, () => 10);
    const exclusion: Exclusion = new Map([
      [0, new Set([0])],
      [8, new Set([0])],
    ]);
    const combinations = of(ones(sizes), [exclusion]);
    expect(combinations.mass).toBe(10 ** 9 - 10 ** 7);
    expect(combinations.at(0)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 1]);
    expect(combinations.at(combinations.mass - 1)).toEqual(sizes.map(() => 9));
  });

  test("that are too entangled to be counted are told, not waited for", () => {
    const sizes = Array.from({ length: 40 }, () => 2);
    // Pairs across the middle: at the middle each may be alive or not.
    const exclusions = Array.from(
      { length: 20 },
      (_, at): Exclusion =>
        new Map([
          [at, new Set([0])],
          [at + 20, new Set([0])],
        ]),
    );
    expect(createCombinations(ones(sizes), exclusions)).toBeUndefined();
  });
});
