import { expect, test } from "vitest";
import { toPythonFloat, toPythonInt } from "./python-number.ts";

test.each([
  ["5", 5],
  [" 5\n", 5],
  ["-1_000", -1000],
  [5.9, 5],
  [-5.9, -5],
  [true, 1],
  ["007", 7],
])("int(%j) is %d", (value, number) => {
  expect(toPythonInt(value)).toEqual({ kind: "number", value: number });
});

test.each(["5.0", "1e3", "", "0x10", "_1", "1_", "five", null, {}, undefined])(
  "int(%j) raises",
  (value) => {
    expect(toPythonInt(value).kind).toBe("fails");
  },
);

test.each([
  ["5.5", 5.5],
  ["1e3", 1000],
  [".5", 0.5],
  ["5.", 5],
  ["-1_0.2_5", -10.25],
  ["inf", Infinity],
  ["-Infinity", -Infinity],
  [false, 0],
  [7, 7],
])("float(%j) is %d", (value, number) => {
  expect(toPythonFloat(value)).toEqual({ kind: "number", value: number });
});

test.each(["5,5", "", "e3", ".", "1e", "0x1p3", "--5", null, []])("float(%j) raises", (value) => {
  expect(toPythonFloat(value).kind).toBe("fails");
});

test("nan is a number that no limit excludes", () => {
  expect(toPythonFloat("NaN")).toEqual({ kind: "number", value: Number.NaN });
});

test.each(["٥", "\u00a05", "x".repeat(500)])("%j is left to Python", (value) => {
  expect(toPythonInt(value).kind).not.toBe("fails");
});
