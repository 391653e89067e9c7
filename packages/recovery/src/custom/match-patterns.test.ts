import * as fc from "fast-check";
import { RE2JS } from "re2js";
import { describe, expect, it } from "vitest";
import { createNeedleBook } from "../needle-index.ts";
import { checkRegex } from "./check-regex.ts";
import type { CustomPattern } from "./custom-pattern.ts";
import {
  compileCustomPatterns,
  CUSTOM_AFTER,
  CUSTOM_HEAD,
  CUSTOM_TAIL,
  CUSTOM_WHOLE,
} from "./match-patterns.ts";

const pattern = (name: string, ...patterns: readonly string[]): CustomPattern => ({
  name,
  errorType: name,
  patterns,
  strategy: "RETRY",
  parameterAdjustments: {},
  maxRetries: null,
});
const match = (message: string, ...patterns: readonly CustomPattern[]) => {
  const book = createNeedleBook();
  const find = compileCustomPatterns(patterns, book);
  const found = find(message, book.compile().find(message));
  return found === null ? null : [found.pattern.name, found.matched];
};

/** Patterns over a small alphabet, so that texts meet them. */
const regexText: fc.Arbitrary<string> = fc.letrec<{ regex: string; atom: string }>((tie) => ({
  atom: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom(
      "a",
      "b",
      "ab",
      "ba b",
      "B",
      ".",
      "[ab]",
      "[^a]",
      "\\w",
      "\\s",
      "\\d",
      "\\b",
      "^",
      "$",
      "é",
      "\\x61",
      "\\Qa.b\\E",
      "[[:alpha:]]",
      "[a-c]",
      "(?-i)A",
      "\\pL",
    ),
    tie("regex").map((inner) => `(${inner})`),
    tie("regex").map((inner) => `(?-i:${inner})`),
    tie("regex").map((inner) => `(?P<n>${inner})`),
  ),
  regex: fc.oneof(
    { depthSize: "small" },
    tie("atom"),
    fc.tuple(tie("atom"), tie("regex")).map(([a, b]) => a + b),
    fc.tuple(tie("regex"), tie("regex")).map(([a, b]) => `${a}|${b}`),
    fc
      .tuple(tie("atom"), fc.constantFrom("*", "+", "?", "{2}", "{1,3}", "{2,}", "+?"))
      .map(([a, repeat]) => `(?:${a})${repeat}`),
  ),
})).regex;
const messageText = fc.string({
  unit: fc.constantFrom("a", "b", "A", "B", " ", "\n", ".", "1", "é", "É", "c"),
  maxLength: 40,
});

describe("the custom matcher", () => {
  it("finds what re2js finds, whatever word it looks for first", () => {
    fc.assert(
      fc.property(regexText, messageText, (text, message) => {
        const checked = checkRegex(text);
        fc.pre(checked.kind === "ok");
        const isFound = RE2JS.compile(text, RE2JS.CASE_INSENSITIVE)
          .matcher(message.trimEnd())
          .find();
        expect(match(message, pattern("p", text)) !== null).toBe(isFound);
      }),
      { numRuns: 2_000 },
    );
  });

  it("takes the first of its patterns that fits, and says what it saw", () => {
    const first = pattern("vendor_busy", "never here", "device \\d+ busy");
    const second = pattern("other", "busy");
    expect(match("Vendor says: DEVICE 12 busy\n", first, second)).toEqual([
      "vendor_busy",
      "DEVICE 12 busy",
    ]);
    expect(match("all busy", first, second)).toEqual(["other", "busy"]);
    expect(match("fine", first, second)).toBeNull();
    expect(match("fine")).toBeNull();
  });

  it("takes no place where a long message was cut for the beginning or end of anything", () => {
    const filler = "x".repeat(5_000);
    const anchored = pattern("p", "^gizmo", "gizmo$", "(?m)^gizmo", "\\Agizmo");
    expect(match(`${filler}gizmo${filler}`, anchored)).toBeNull();
    expect(match(`${filler}gizmo\n`, anchored)).not.toBeNull();
    expect(match(`gizmo${filler}`, anchored)).not.toBeNull();
    expect(match(`${filler}\ngizmo${filler}`, anchored)).not.toBeNull();
  });

  it("reads a long message around the word that must stand in it, wherever that is", () => {
    const filler = "loading shard\n".repeat(4_000);
    const near = pattern("p", "\\d+ gizmos? (lost|gone)");
    expect(match(`${filler}12 gizmos lost${filler}`, near)).not.toBeNull();
    const far = pattern("p", "gizmo.*lost");
    const gap = (size: number) => `${"y".repeat(CUSTOM_WHOLE)} gizmo${"z".repeat(size)}lost`;
    expect(match(gap(CUSTOM_AFTER - 20), far)).not.toBeNull();
    expect(match(gap(CUSTOM_AFTER), far)).toBeNull();
  });

  it("reads head and tail for a pattern without such a word", () => {
    const wordless = pattern("p", "\\d{5}");
    const text = (at: number) => `${"x".repeat(at)}12345${"x".repeat(5_000 - at)}`;
    expect(match(text(CUSTOM_HEAD - 5), wordless)).not.toBeNull();
    expect(match(text(CUSTOM_HEAD), wordless)).toBeNull();
    expect(match(text(5_000 - CUSTOM_TAIL + 5), wordless)).not.toBeNull();
  });

  it("comes to an end on texts made to keep it busy", () => {
    const patterns = Array.from({ length: 200 }, (_, n) => pattern(`p${n}`, `vendor${n} .*lost$`));
    const message = Array.from({ length: 5_000 }, (_, n) => `vendor${n % 200} found`).join(" ");
    expect(match(message, ...patterns)).toBeNull();
  });

  it("leaves out an expression that may not be used", () => {
    expect(match("aaa gizmo", pattern("p", "(a+)+", "gizmo"))).toEqual(["p", "gizmo"]);
  });
});
