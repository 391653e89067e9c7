import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseInt8, parseTimestamp } from "./column-types.ts";

describe("parseTimestamp", () => {
  test.each([
    ["2026-11-22 03:49:10+00", "2026-11-22T03:49:10.000Z"],
    ["2026-11-22 03:49:10.5+00", "2026-11-22T03:49:10.500Z"],
    ["2026-11-22 03:49:10.123456+00", "2026-11-22T03:49:10.123Z"],
    ["2026-11-22 03:49:10.123999+05:30", "2026-11-21T22:19:10.123Z"],
    ["2026-11-22 03:49:10-08", "2026-11-22T11:49:10.000Z"],
    ["2026-11-22 03:49:10", "2026-11-22T03:49:10.000Z"],
    ["2026-11-22 03:49:10.05+00", "2026-11-22T03:49:10.050Z"],
    ["2026-11-22 03:49:10.0099+00", "2026-11-22T03:49:10.009Z"],
    ["0044-03-15 12:00:00+00", "0044-03-15T12:00:00.000Z"],
  ])("%s", (text, iso) => {
    expect(parseTimestamp(text)).toBe(Date.parse(iso));
  });

  test("infinity stays infinite, and what cannot be read is refused", () => {
    expect(parseTimestamp("infinity")).toBe(Number.POSITIVE_INFINITY);
    expect(parseTimestamp("-infinity")).toBe(Number.NEGATIVE_INFINITY);
    expect(() => parseTimestamp("0044-03-15 12:00:00+00 BC")).toThrow(RangeError);
  });

  test("every instant of four-digit years comes back as it went in", () => {
    fc.assert(
      fc.property(fc.integer({ min: Date.UTC(1000, 0), max: Date.UTC(9999, 11) }), (instant) => {
        const text = new Date(instant).toISOString().replace("T", " ").replace("Z", "+00");
        expect(parseTimestamp(text)).toBe(instant);
      }),
    );
  });
});

test("an int8 is exact or refused", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
      const isSafe = value <= 2n ** 53n - 1n && value >= -(2n ** 53n - 1n);
      const read = (): number => parseInt8(String(value));
      const told = isSafe ? BigInt(read()) === value : throwsRangeError(read);
      expect(told).toBe(true);
    }),
  );
});

function throwsRangeError(fn: () => unknown): boolean {
  try {
    fn();
    return false;
  } catch (error) {
    return error instanceof RangeError;
  }
}
