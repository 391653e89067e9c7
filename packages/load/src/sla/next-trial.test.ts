import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nextTrial, type Trial, type TrialLimits } from "./next-trial.ts";

/** Searches against a service; `breaches(books, time)`: whether its so many-th run with these fails. */
function search(limits: TrialLimits, breaches: (books: number, time: number) => boolean) {
  const trials: Trial[] = [];
  for (let asked = 0; asked < 1_000; asked += 1) {
    const step = nextTrial(trials, limits);
    if (step.kind === "found") return { ...step, trials };
    const time = trials.filter(({ books }) => books === step.books).length;
    trials.push({ books: step.books, isBreached: breaches(step.books, time) });
  }
  throw new Error("a search without an end");
}

describe("the search for the most books", () => {
  it("doubles, looks twice at a breach, and bisects", () => {
    const { books, trials } = search({ from: 1, max: 100 }, (count) => count > 5);
    expect(books).toBe(5);
    expect(trials.map((one) => one.books)).toEqual([1, 2, 4, 8, 8, 6, 6, 5]);
  });

  it("finds exactly what a service can, in few trials", () => {
    fc.assert(
      fc.property(fc.nat(300), fc.integer({ min: 1, max: 40 }), (can, from) => {
        const { books, why, trials } = search({ from, max: 200 }, (count) => count > can);
        expect(books).toBe(Math.min(can, 200));
        expect(why).toBe(can >= 200 ? "max" : "breach");
        expect(trials.length).toBeLessThanOrEqual(3 * Math.ceil(Math.log2(200)) + 3);
      }),
    );
  });

  it("is not misled by one hiccup a number of books", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.nat(), (can, hiccups) => {
        const fails = (books: number, time: number): boolean =>
          books > can || (time === 0 && (hiccups >> (books % 31)) % 2 === 1);
        expect(search({ from: 1, max: 100 }, fails).books).toBe(can);
      }),
    );
  });

  it("ends, and names what was good once and bad twice above, whatever happens", () => {
    fc.assert(
      fc.property(fc.infiniteStream(fc.boolean()), (chance) => {
        const { books, why, trials } = search({ from: 4, max: 64 }, () => chance.next().value);
        if (books > 0) expect(trials).toContainEqual({ books, isBreached: false });
        const above = trials.filter((one) => one.books === books + 1 && one.isBreached);
        expect(above.length).toBe(why === "max" ? 0 : 2);
      }),
    );
  });

  it("says that not even one can be rendered, and begins with no nonsense", () => {
    expect(search({ from: 1, max: 10 }, () => true)).toMatchObject({ books: 0, why: "breach" });
    expect(() => nextTrial([], { from: 5, max: 4 })).toThrow("begins nowhere");
  });
});
