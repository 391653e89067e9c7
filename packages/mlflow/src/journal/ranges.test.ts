import fc from "fast-check";
import { expect, it } from "vitest";
import { countOf, isWithin, withRange, type Range } from "./ranges.ts";

const range = fc
  .tuple(fc.nat(60), fc.nat(10))
  .map(([from, length]): Range => [from, from + length]);

it("ranges hold exactly the numbers that were put in, sorted and apart", () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 20 }), (given) => {
      const ranges = given.reduce<readonly Range[]>(withRange, []);
      const numbers = new Set(
        given.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, i) => from + i)),
      );
      for (let n = 0; n < 80; n += 1) expect(isWithin(ranges, n)).toBe(numbers.has(n));
      expect(countOf(ranges)).toBe(numbers.size);
      for (const [index, [from]] of ranges.entries()) {
        if (index > 0) expect(from).toBeGreaterThan((ranges[index - 1]?.[1] ?? 0) + 1);
      }
    }),
  );
});
