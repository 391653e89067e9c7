import * as fc from "fast-check";
import { describe, expect, it } from "vitest";

import { createNeedleIndex, FIRST_HITS_MAX } from "./needle-index.ts";

const startsOf = (needles: readonly string[], text: string, needle: string) =>
  createNeedleIndex(needles).find(text).get(needles.indexOf(needle))?.starts;

describe("the needle index", () => {
  it("finds words in either case, in any script", () => {
    expect(startsOf(["out of memory"], "CUDA Out Of Memory", "out of memory")).toEqual([5]);
    expect(startsOf(["файл"], "ФАЙЛ подкачки", "файл")).toEqual([0]);
    expect(startsOf(["磁盘"], "错误: 磁盘已满", "磁盘")).toEqual([4]);
  });

  it("finds Latin capitals although a Turkish needle holds the dotless i", () => {
    expect(startsOf(["import", "bağlantı"], "IMPORT FAILED", "import")).toEqual([0]);
  });

  it("finds a word that a wrapped line or a typographic apostrophe breaks", () => {
    expect(startsOf(["find c"], "to find\nC compiler", "find c")).toEqual([3]);
    expect(startsOf(["l'hôte"], "par l\u2019hôte", "l'hôte")).toEqual([4]);
  });

  it("finds a word inside another and one that ends inside a longer try", () => {
    const needles = ["error", "cuda error", "rror: x"];
    const hits = createNeedleIndex(needles).find("cuda error: x");
    expect([...hits.keys()].sort((a, b) => a - b)).toEqual([0, 1, 2]);
  });

  it("keeps the first places and the last one", () => {
    const starts = startsOf(["ab"], "ab".repeat(50), "ab");
    expect(starts).toHaveLength(FIRST_HITS_MAX + 1);
    expect(starts?.at(-1)).toBe(98);
  });

  it("finds exactly the needles that the text includes", () => {
    const word = fc.string({
      unit: fc.constantFrom("a", "b", "c", " "),
      minLength: 1,
      maxLength: 5,
    });
    const text = fc.string({ unit: fc.constantFrom("a", "b", "c", " ", "d"), maxLength: 60 });
    fc.assert(
      fc.property(fc.uniqueArray(word, { maxLength: 12 }), text, (needles, haystack) => {
        const hits = createNeedleIndex(needles).find(haystack);
        for (const [index, needle] of needles.entries()) {
          expect(hits.has(index)).toBe(haystack.includes(needle));
          const first = hits.get(index)?.starts[0] ?? -1;
          expect(first).toBe(haystack.indexOf(needle));
        }
      }),
    );
  });
});
