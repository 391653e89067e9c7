import * as fc from "fast-check";
import { RE2JS } from "re2js";
import { describe, expect, it } from "vitest";
import { parseCustomPattern, parseCustomPatterns, toWirePattern } from "./parse-pattern.ts";

const GOOD = {
  error_type: "vendor_busy",
  patterns: ["vendor .* busy"],
  strategy: "REDUCE_PARAMS",
  parameter_adjustments: {
    custom_param: { operation: "reduce", factor: 0.5 },
    "3.cfg": { operation: "set", value: 4, min: 1, max: 8 },
    steps: { operation: "multiply", factor: 1.5, max: 40 },
    tiles: { operation: "increase", factor: 2 },
    mode: { operation: "set", value: "fast" },
  },
  max_retries: 2,
};
const problemsOf = (over: object) => {
  const parsed = parseCustomPattern({ ...GOOD, ...over });
  return parsed.kind === "ok"
    ? []
    : parsed.problems.map(({ path, message }) => `${path}: ${message}`);
};
const adjust = (adjustment: unknown) => ({ parameter_adjustments: { p: adjustment } });

describe("parseCustomPattern", () => {
  it("reads a pattern, and writes it as it was", () => {
    const parsed = parseCustomPattern(GOOD);
    expect(parsed).toMatchObject({
      kind: "ok",
      pattern: { name: "vendor_busy", errorType: "vendor_busy", maxRetries: 2 },
    });
    if (parsed.kind === "ok") {
      expect(toWirePattern(parsed.pattern)).toEqual({ name: "vendor_busy", ...GOOD });
      expect(parseCustomPattern(toWirePattern(parsed.pattern))).toEqual(parsed);
    }
  });

  it("does without adjustments and retries, and takes a built-in class", () => {
    const parsed = parseCustomPattern({
      name: "our_oom",
      error_type: "cuda_out_of_memory",
      patterns: ["gizmo"],
      strategy: "ABORT",
    });
    expect(parsed).toMatchObject({
      kind: "ok",
      pattern: { name: "our_oom", parameterAdjustments: {}, maxRetries: null },
    });
  });

  it.each([
    [{ patterns: ["(a"] }, /^patterns\[0\]: expected a regular expression/],
    [{ patterns: ["ok fine", "(a+)+$"] }, /^patterns\[1\]: .*explodes/],
    [{ patterns: [] }, /^patterns: .*found an empty list/],
    [{ patterns: "abc" }, /^patterns: expected a list.*found "abc"/],
    [{ patterns: [5] }, /^patterns\[0\]: expected a text, found 5/],
    [{ patterns: Array.from({ length: 21 }, () => "gizmo") }, /at most 20 .*found 21/],
    [{ patterns: ["x".repeat(501)] }, /at most 500 characters/],
    [{ error_type: "Not Snake" }, /^error_type: expected a name in snake_case/],
    [{ error_type: undefined }, /^error_type: .*found nothing/],
    [{ name: "9x" }, /^name: expected a name/],
    [{ strategy: "PRAY" }, /^strategy: expected one of REDUCE_PARAMS, .*found "PRAY"/],
    [{ max_retries: -1 }, /^max_retries: expected a whole number from 0 to 100.*found -1/],
    [{ max_retries: 1e9 }, /^max_retries: /],
    [{ max_retries: 1.5 }, /^max_retries: /],
    [{ max_retries: "3" }, /^max_retries: .*found "3"/],
    [{ retries: 3 }, /^retries: there is no such field; known are name/],
    [{ parameter_adjustments: [] }, /^parameter_adjustments: expected an object/],
    [{ parameter_adjustments: { "": {} } }, /^parameter_adjustments: expected a parameter's name/],
    [adjust(null), /^parameter_adjustments\.p: expected an object/],
    [adjust({}), /p\.operation: expected one of reduce, increase, multiply, set, found nothing/],
    [adjust({ operation: "explode", factor: 0.5 }), /p\.operation: .*found "explode"/],
    [adjust({ operation: "reduce" }), /p\.factor: expected a number over 0 and under 1/],
    [adjust({ operation: "reduce", factor: 1 }), /p\.factor: /],
    [adjust({ operation: "reduce", factor: 0 }), /p\.factor: /],
    [adjust({ operation: "reduce", factor: -0.5 }), /p\.factor: .*found -0.5/],
    [adjust({ operation: "increase", factor: 0.5 }), /p\.factor: /],
    [adjust({ operation: "multiply", factor: 101 }), /p\.factor: /],
    [
      adjust({ operation: "reduce", factor: 0.5, value: 3 }),
      /p\.value: .*is for the operation set/,
    ],
    [adjust({ operation: "set", factor: 0.5, value: 3 }), /p\.factor: .*set takes a `value`/],
    [adjust({ operation: "set" }), /p\.value: expected a number, true, false/],
    [adjust({ operation: "set", value: "x".repeat(1_001) }), /p\.value: /],
    [adjust({ operation: "set", value: 9, max: 8 }), /p\.value: expected a value from min to max/],
    [adjust({ operation: "reduce", factor: 0.5, min: 9, max: 8 }), /p\.min: expected min ≤ max/],
    [adjust({ operation: "reduce", factor: 0.5, min: "1" }), /p\.min: expected a number/],
    [adjust({ operation: "reduce", factor: 0.5, step: 1 }), /p\.step: there is no such field/],
  ])("refuses %o in words", (over, message) => {
    expect(problemsOf(over).join("\n")).toMatch(message);
  });

  it("refuses more adjustments than a graph is worth", () => {
    const many = Object.fromEntries(
      Array.from({ length: 33 }, (_, n) => [`p${n}`, { operation: "reduce", factor: 0.5 }]),
    );
    expect(problemsOf({ parameter_adjustments: many })).toEqual([
      "parameter_adjustments: expected at most 32 adjustments, found 33",
    ]);
  });

  it("tells every problem at once", () => {
    expect(problemsOf({ strategy: 1, max_retries: -1, patterns: [""] })).toHaveLength(3);
  });

  it("never throws, and what it takes can be used", () => {
    const anything = fc.anything({ withNullPrototype: true });
    const field = fc.oneof(anything, fc.constant(undefined));
    const nearly = fc.record({
      error_type: fc.oneof(fc.constant("own_error"), field),
      patterns: fc.oneof(fc.array(fc.string({ minLength: 1, maxLength: 12 })), field),
      strategy: fc.oneof(fc.constant("RETRY"), field),
      max_retries: fc.oneof(fc.integer({ min: -2, max: 200 }), field),
      parameter_adjustments: fc.oneof(
        fc.dictionary(fc.string(), fc.record({ operation: field, factor: field, value: field })),
        fc.constant({}),
        field,
      ),
    });
    fc.assert(
      fc.property(fc.oneof(anything, nearly), (value) => {
        const parsed = parseCustomPattern(value);
        if (parsed.kind === "invalid") {
          expect(parsed.problems.length).toBeGreaterThan(0);
          return;
        }
        for (const text of parsed.pattern.patterns) {
          expect(RE2JS.compile(text).matcher("").find()).toBe(false);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("parseCustomPatterns", () => {
  const list = (count: number, patterns: (n: number) => readonly string[]) =>
    Array.from({ length: count }, (_, n) => ({
      error_type: `e${n}`,
      patterns: patterns(n),
      strategy: "RETRY",
    }));
  const textOf = (value: unknown) => {
    const parsed = parseCustomPatterns(value);
    return parsed.kind === "ok"
      ? `ok ${parsed.patterns.length}`
      : parsed.problems.map(({ path, message }) => `${path}: ${message}`).join("\n");
  };

  it("reads a list, bare or as `patterns`", () => {
    expect(textOf([GOOD])).toBe("ok 1");
    expect(textOf({ patterns: [GOOD] })).toBe("ok 1");
    expect(textOf([])).toBe("ok 0");
  });

  it.each([
    [null, /expected a list of patterns, found null/],
    [{ patterns: 3 }, /expected a list/],
    [[GOOD, 3], /\[1\]: expected an object/],
    [[GOOD, { ...GOOD, strategy: "x" }], /\[1\]\.strategy: /],
    [[GOOD, GOOD], /the name vendor_busy is used twice/],
    [list(201, () => ["gizmo"]), /at most 200 patterns, found 201/],
    [list(31, () => Array.from({ length: 20 }, () => "gizmo")), /at most 600 .*found 620/],
    [list(17, (n) => [`\\d{${n + 2}}`]), /at most 16 .* without a word.*found 17/],
  ])("refuses %#", (value, message) => {
    expect(textOf(value)).toMatch(message);
  });

  it("takes as many as it promises", () => {
    expect(textOf(list(200, (n) => [`vendor${n} .* lost`, `gizmo${n}`, `code ${n}x`]))).toBe(
      "ok 200",
    );
  });
});
