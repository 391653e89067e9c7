import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { findJsonProblem, isStorableText } from "./json-bounds.ts";

function nested(depth: number): unknown {
  let value: unknown = "leaf";
  for (let level = 0; level < depth; level += 1) value = level % 2 === 0 ? [value] : { a: value };
  return value;
}

describe("what Postgres can keep", () => {
  test("depth is counted in lists and objects, and no depth overflows the stack", () => {
    expect(findJsonProblem(nested(5), 5)).toBeUndefined();
    expect(findJsonProblem(nested(6), 5)).toBe("too_deep");
    expect(findJsonProblem(nested(200_000), 32)).toBe("too_deep");
  });

  test.each([["a\0b"], ["\ud800"], [{ "a\0": 1 }], [[["\udc00"]]]])(
    "%j is not storable",
    (value) => {
      expect(findJsonProblem(value, 9)).toBe("bad_text");
    },
  );

  test("every JSON value without such text is fine", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        const isFine = isStorableText(JSON.stringify(value).replaceAll(/\\u0000/g, "\0"));
        fc.pre(isFine);
        expect(findJsonProblem(value, 32)).toBeUndefined();
      }),
    );
  });
});
