import * as fc from "fast-check";
import { expect, test } from "vitest";
import { marksFrom, parseEnviron, stopTimeoutOf } from "./process-marks.ts";

const marks = {
  HOLDFAST_SPEC: "d",
  HOLDFAST_MACHINE: "/m",
  HOLDFAST_PROCESS: "a",
  HOLDFAST_STOP_MS: "2500",
};

const read = (env: Record<string, string>) => marksFrom((name) => env[name]);

test("all marks or none", () => {
  expect(read({ ...marks, OTHER: "x" })).toEqual(marks);
  for (const missing of Object.keys(marks)) {
    const rest = Object.fromEntries(Object.entries(marks).filter(([name]) => name !== missing));
    expect(read(rest)).toBeNull();
  }
});

test("an environment is read back as it was written, values with '=' and line ends too", () => {
  const name = fc.stringMatching(/^[A-Za-z_]\w{0,10}$/);
  const value = fc.string().map((text) => text.replaceAll("\0", ""));
  fc.assert(
    fc.property(fc.dictionary(name, value), (env) => {
      const text = Object.entries(env).map(([key, one]) => `${key}=${one}\0`);
      expect(parseEnviron(text.join(""))).toEqual(new Map(Object.entries(env)));
    }),
  );
  expect(parseEnviron("\0=x\0novalue\0A=1\0A=2\0")).toEqual(new Map([["A", "1"]]));
});

test("the stop time of a mark, or the fallback for what is none", () => {
  expect(stopTimeoutOf(marks, 9)).toBe(2_500);
  expect(stopTimeoutOf(null, 9)).toBe(9);
  for (const bad of ["x", "-1", "1.5"]) {
    expect(stopTimeoutOf({ ...marks, HOLDFAST_STOP_MS: bad }, 9)).toBe(9);
  }
});
