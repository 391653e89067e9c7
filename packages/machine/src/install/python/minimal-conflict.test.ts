import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { minimalConflict } from "./minimal-conflict.ts";

const oracle =
  (conflicts: readonly (readonly number[])[]) =>
  (set: readonly number[]): boolean =>
    !conflicts.some((conflict) => conflict.every((item) => set.includes(item)));

describe("a smallest conflict", () => {
  test("of any hidden conflicts is one of them, and nothing can be left out of it", async () => {
    const arbitrary = fc.integer({ min: 0, max: 14 }).chain((n) =>
      fc.record({
        n: fc.constant(n),
        conflicts: fc.array(
          fc.uniqueArray(fc.integer({ min: 0, max: Math.max(0, n - 1) }), {
            minLength: 1,
            maxLength: 4,
          }),
          { maxLength: n === 0 ? 0 : 3 },
        ),
      }),
    );
    await fc.assert(
      fc.asyncProperty(arbitrary, async ({ n, conflicts }) => {
        const goTogether = oracle(conflicts);
        const items = Array.from({ length: n }, (_, index) => index);
        const found = await minimalConflict(
          items,
          (set) => Promise.resolve(goTogether(set)),
          10_000,
        );
        if (conflicts.length === 0) {
          expect(found).toEqual([]);
          return;
        }
        expect(goTogether(found)).toBe(false);
        for (const item of found)
          expect(goTogether(found.filter((other) => other !== item))).toBe(true);
      }),
    );
  });

  test("two of a hundred are found with few questions", async () => {
    let questions = 0;
    const goTogether = oracle([[17, 80]]);
    const items = Array.from({ length: 100 }, (_, index) => index);
    const found = await minimalConflict(items, (set) => {
      questions += 1;
      return Promise.resolve(goTogether(set));
    });
    expect(found).toEqual([17, 80]);
    expect(questions).toBeLessThan(25);
  });

  test("out of questions, what is answered still conflicts", async () => {
    const goTogether = oracle([[1, 6]]);
    for (let most = 1; most < 12; most += 1) {
      const items = [0, 1, 2, 3, 4, 5, 6, 7];
      const found = await minimalConflict(items, (set) => Promise.resolve(goTogether(set)), most);
      expect(goTogether(found)).toBe(false);
    }
  });
});
