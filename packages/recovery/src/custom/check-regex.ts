import { assertNever } from "@holdfast/runtime";
import { RE2JS } from "re2js";
import { findAmbiguity } from "./ambiguity.ts";
import { REGEX_LENGTH_MAX, REGEX_PROGRAM_MAX } from "./custom-pattern.ts";
import { readRegex } from "./regex-tree.ts";
import { requiredWords } from "./required-words.ts";

/** A regular expression that may be used, or why not. */
export type CheckedRegex =
  | {
      readonly kind: "ok";
      readonly regex: RE2JS;
      /** One of them stands in whatever it matches; null: nothing is known to. */
      readonly words: readonly string[] | null;
    }
  | { readonly kind: "bad"; readonly message: string };

/** Letters in either case, as people write error messages; `(?-i)` in a pattern takes it back. */
const FLAGS = RE2JS.CASE_INSENSITIVE;
const SHOWN_MAX = 80;

/** Compiles a regular expression of an operator, and refuses in words what must not run. */
export function checkRegex(text: string): CheckedRegex {
  if (text.trim() === "") return bad("expected a regular expression, found nothing");
  if (text.length > REGEX_LENGTH_MAX) {
    return bad(
      `expected at most ${REGEX_LENGTH_MAX} characters, found ${text.length}; split it into several`,
    );
  }
  const compiled = compile(text);
  if (typeof compiled === "string") {
    return bad(
      `expected a regular expression in RE2's syntax (no look-around, no back-references), found ${shown(text)}: ${compiled}`,
    );
  }
  const size = compiled.programSize();
  if (size > REGEX_PROGRAM_MAX) {
    return bad(
      `expected a pattern of at most ${REGEX_PROGRAM_MAX} steps, found ${size} in ${shown(text)}; use smaller counts in {n,m}`,
    );
  }
  if (compiled.test("")) {
    return bad(`${shown(text)} matches an empty message, and so every other; name what must stand`);
  }
  const tree = readRegex(text, true);
  if (tree === null) return { kind: "ok", regex: compiled, words: null };
  const ambiguity = findAmbiguity(tree);
  switch (ambiguity) {
    case "explosive":
      return bad(
        `${shown(text)} repeats what repeats already, like (a+)+, so that the number of ways to match a text explodes; take one of the repeats away`,
      );
    case "too_large":
      return bad(`${shown(text)} is too large to be checked; split it into several`);
    case "none":
      return { kind: "ok", regex: compiled, words: requiredWords(tree) };
    default:
      return assertNever(ambiguity);
  }
}

/** The compiled pattern, or what is wrong with it in re2js's words. */
function compile(text: string): RE2JS | string {
  try {
    return RE2JS.compile(text, FLAGS);
  } catch (error) {
    // re2js throws nothing but complaints about the pattern.
    return error instanceof Error ? error.message : String(error);
  }
}

function bad(message: string): CheckedRegex {
  return { kind: "bad", message };
}

function shown(text: string): string {
  return JSON.stringify(text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text);
}
