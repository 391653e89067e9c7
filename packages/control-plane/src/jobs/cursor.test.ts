import { isHoldfastError } from "@holdfast/contract";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeCursor, encodeCursor } from "./cursor.ts";

const order = fc.constantFrom("newest" as const, "oldest" as const);

function codeOf(run: () => unknown): string {
  try {
    run();
    return "none";
  } catch (error) {
    return isHoldfastError(error) ? error.code : String(error);
  }
}

describe("cursors", () => {
  test("what was encoded is decoded, in its own order only", () => {
    fc.assert(
      fc.property(order, fc.nat(2 ** 31), fc.nat(2 ** 31), (way, now, seed) => {
        const ids = createIdSource({ now: () => now }, seededRandom(seed));
        const cursor = { order: way, id: ids.next("job") };
        const text = encodeCursor(cursor);
        expect(decodeCursor(text, way)).toEqual(cursor);
        const other = way === "newest" ? "oldest" : "newest";
        expect(codeOf(() => decodeCursor(text, other))).toBe("invalid_cursor");
      }),
    );
  });

  test("any other text is refused, never read as a place", () => {
    fc.assert(
      fc.property(fc.string(), order, (text, way) => {
        expect(codeOf(() => decodeCursor(text, way))).toBe("invalid_cursor");
      }),
    );
  });
});
