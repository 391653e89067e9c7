/**
 * Reads a pattern that re2js has accepted into a tree, to learn from it what re2js does not tell:
 * which words must stand in whatever it matches, and whether it repeats what already repeats.
 * Syntax: RE2's (https://github.com/google/re2/wiki/Syntax), which re2js 2.10 follows.
 */
import {
  ANY_BUT_LINE_END,
  ANY_CHAR,
  charRange,
  complement,
  union,
  type CharSet,
} from "./char-set.ts";

/** A pattern as a tree. `max` of a repeat is null when it has no end. */
export type RegexNode =
  /** One character of a set; `literal` is it, in lower case, when there is but one. */
  | { readonly kind: "char"; readonly set: CharSet; readonly literal: string | null }
  /** Nothing, or a condition on the place (`^`, `\b`). */
  | { readonly kind: "empty" }
  | { readonly kind: "sequence"; readonly parts: readonly RegexNode[] }
  | { readonly kind: "choice"; readonly branches: readonly RegexNode[] }
  | {
      readonly kind: "repeat";
      readonly body: RegexNode;
      readonly min: number;
      readonly max: number | null;
    };

interface Flags {
  readonly foldsCase: boolean;
  readonly dotAll: boolean;
}

interface Reader {
  readonly text: string;
  at: number;
  flags: Flags;
}

/**
 * The tree of a pattern; `foldsCase`: letters match in either case unless it says `(?-i)`. Null for
 * what this reader does not know: then nothing is concluded from the pattern.
 */
export function readRegex(text: string, foldsCase: boolean): RegexNode | null {
  const reader: Reader = { text, at: 0, flags: { foldsCase, dotAll: false } };
  const tree = readChoice(reader);
  return reader.at === text.length ? tree : null;
}

const EMPTY: RegexNode = { kind: "empty" };

function readChoice(reader: Reader): RegexNode {
  const branches = [readSequence(reader)];
  while (reader.text[reader.at] === "|") {
    reader.at += 1;
    branches.push(readSequence(reader));
  }
  const only = branches[0];
  return branches.length === 1 && only !== undefined ? only : { kind: "choice", branches };
}

function readSequence(reader: Reader): RegexNode {
  const parts: RegexNode[] = [];
  while (reader.at < reader.text.length) {
    const next = reader.text[reader.at];
    if (next === "|" || next === ")") break;
    if (reader.text.startsWith("\\Q", reader.at)) {
      parts.push(...readQuoted(reader));
      // What follows repeats the last quoted character alone.
      const last = parts.pop();
      if (last !== undefined) parts.push(readRepeats(reader, last));
      continue;
    }
    parts.push(readRepeats(reader, readAtom(reader)));
  }
  return { kind: "sequence", parts };
}

const REPEAT = /([*+?]|\{(\d{1,4})(,?)(\d{0,4})\})\??/y;

function readRepeats(reader: Reader, atom: RegexNode): RegexNode {
  let node = atom;
  for (;;) {
    REPEAT.lastIndex = reader.at;
    const match = REPEAT.exec(reader.text);
    if (match === null) return node;
    reader.at = REPEAT.lastIndex;
    const [, sign = "", low = "", comma = "", high = ""] = match;
    const [min, max] = boundsOf(sign, low, comma, high);
    node = { kind: "repeat", body: node, min, max };
  }
}

function boundsOf(sign: string, low: string, comma: string, high: string) {
  if (sign === "*") return [0, null] as const;
  if (sign === "+") return [1, null] as const;
  if (sign === "?") return [0, 1] as const;
  const min = Number(low);
  if (comma === "") return [min, min] as const;
  return [min, high === "" ? null : Number(high)] as const;
}

function readAtom(reader: Reader): RegexNode {
  const { text } = reader;
  const next = text[reader.at] ?? "";
  switch (next) {
    case "(":
      return readGroup(reader);
    case "[":
      return readClass(reader);
    case "\\":
      return readEscape(reader);
    case "^":
    case "$":
      reader.at += 1;
      return EMPTY;
    case ".":
      reader.at += 1;
      return charNode(reader.flags.dotAll ? ANY_CHAR : ANY_BUT_LINE_END);
    default:
      return readLiteral(reader);
  }
}

const GROUP_NAME = /\(\?P?<[A-Za-z_]\w*>/y;
const GROUP_FLAGS = /\(\?([imsU]*)(?:-([imsU]+))?([:)])/y;

function readGroup(reader: Reader): RegexNode {
  const outer = reader.flags;
  GROUP_NAME.lastIndex = reader.at;
  GROUP_FLAGS.lastIndex = reader.at;
  const flags = GROUP_FLAGS.exec(reader.text);
  if (flags !== null) {
    reader.at = GROUP_FLAGS.lastIndex;
    reader.flags = withFlags(outer, flags[1] ?? "", flags[2] ?? "");
    // Flags without a group hold to the end of the group around them.
    if (flags[3] === ")") return EMPTY;
  } else if (GROUP_NAME.test(reader.text)) {
    reader.at = GROUP_NAME.lastIndex;
  } else {
    reader.at += 1;
  }
  const inner = readChoice(reader);
  if (reader.text[reader.at] === ")") reader.at += 1;
  reader.flags = outer;
  return inner;
}

function withFlags(flags: Flags, on: string, off: string): Flags {
  const isOn = (flag: string, before: boolean): boolean =>
    on.includes(flag) || (before && !off.includes(flag));
  return { foldsCase: isOn("i", flags.foldsCase), dotAll: isOn("s", flags.dotAll) };
}

/** ASCII members of the classes that a backslash names. */
const NAMED: Readonly<Record<string, CharSet>> = {
  d: charRange(48, 57, false),
  s: [9, 10, 12, 13, 32].map((code) => charRange(code, code, false)).reduce(union),
  w: [charRange(48, 57, false), charRange(65, 90, true), charRange(95, 95, false)].reduce(union),
};
const CONTROLS: Readonly<Record<string, number>> = { a: 7, f: 12, t: 9, n: 10, r: 13, v: 11 };
const HEX = /\\x(?:\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{2}))/y;
const OCTAL = /\\([0-7]{1,3})/y;
const PROPERTY = /\\[pP](?:\{\^?\w{1,40}\}|[A-Z])/y;

/** What a backslash and what follows it stand for: a set, or null for a place. */
function readEscapedSet(reader: Reader): CharSet | null {
  for (const [pattern, radix] of [[HEX, 16] as const, [OCTAL, 8] as const]) {
    pattern.lastIndex = reader.at;
    const match = pattern.exec(reader.text);
    if (match === null) continue;
    reader.at = pattern.lastIndex;
    const code = Number.parseInt(match[1] ?? match[2] ?? "0", radix);
    return charRange(code, code, reader.flags.foldsCase);
  }
  PROPERTY.lastIndex = reader.at;
  if (PROPERTY.test(reader.text)) {
    reader.at = PROPERTY.lastIndex;
    return ANY_CHAR; // coarse: a property may hold anything
  }
  const code = reader.text.codePointAt(reader.at + 1) ?? 0;
  const letter = String.fromCodePoint(code);
  reader.at += 1 + letter.length;
  const named = NAMED[letter.toLowerCase()];
  if (named !== undefined) return letter === letter.toLowerCase() ? named : complement(named);
  if ("bBAz".includes(letter)) return null;
  if (letter === "C") return ANY_CHAR;
  const control = CONTROLS[letter] ?? code;
  return charRange(control, control, reader.flags.foldsCase);
}

function readEscape(reader: Reader): RegexNode {
  const set = readEscapedSet(reader);
  return set === null ? EMPTY : charNode(set);
}

function readQuoted(reader: Reader): RegexNode[] {
  const from = reader.at + 2;
  const to = reader.text.indexOf("\\E", from);
  const end = to === -1 ? reader.text.length : to;
  reader.at = to === -1 ? end : end + 2;
  return Array.from(reader.text.slice(from, end), (letter) => {
    const code = letter.codePointAt(0) ?? 0;
    return charNode(charRange(code, code, reader.flags.foldsCase));
  });
}

function readLiteral(reader: Reader): RegexNode {
  return charNode(readLiteralSet(reader));
}

function readLiteralSet(reader: Reader): CharSet {
  const code = reader.text.codePointAt(reader.at) ?? 0;
  reader.at += String.fromCodePoint(code).length;
  return charRange(code, code, reader.flags.foldsCase);
}

const POSIX_CLASS = /\[:\^?\w+:\]/y;

function readClass(reader: Reader): RegexNode {
  reader.at += 1;
  const isNegated = reader.text[reader.at] === "^";
  if (isNegated) reader.at += 1;
  let set: CharSet = { ascii: 0n, beyond: "none" };
  for (let isFirst = true; reader.at < reader.text.length; isFirst = false) {
    if (reader.text[reader.at] === "]" && !isFirst) break;
    set = union(set, readClassItem(reader));
  }
  reader.at += 1;
  return charNode(isNegated ? complement(set) : set);
}

function readClassItem(reader: Reader): CharSet {
  POSIX_CLASS.lastIndex = reader.at;
  if (POSIX_CLASS.test(reader.text)) {
    reader.at = POSIX_CLASS.lastIndex;
    return ANY_CHAR; // coarse
  }
  const { flags } = reader;
  // The ends of a range are characters as written; the range as a whole is folded.
  reader.flags = { ...flags, foldsCase: false };
  const low = readClassChar(reader);
  const from = singleOf(low);
  const isRange = reader.text[reader.at] === "-" && (reader.text[reader.at + 1] ?? "]") !== "]";
  if (isRange) reader.at += 1;
  const to = isRange ? singleOf(readClassChar(reader)) : from;
  reader.flags = flags;
  if (from === null) return isRange ? ANY_CHAR : low;
  return to === null ? ANY_CHAR : charRange(from, to, flags.foldsCase);
}

function readClassChar(reader: Reader): CharSet {
  if (reader.text[reader.at] === "\\") {
    return readEscapedSet(reader) ?? { ascii: 0n, beyond: "none" };
  }
  return readLiteralSet(reader);
}

/** The one character of a set (the smaller of two cases), or null. */
function singleOf(set: CharSet): number | null {
  if (set.ascii === 0n) return typeof set.beyond === "number" ? set.beyond : null;
  if (set.beyond !== "none") return null;
  const members: number[] = [];
  for (let code = 0; code < 128 && members.length < 3; code += 1) {
    if ((set.ascii >> BigInt(code)) & 1n) members.push(code);
  }
  const [first = 0, second = first] = members;
  const isOne =
    members.length === 1 ||
    (members.length === 2 &&
      String.fromCharCode(first).toLowerCase() === String.fromCharCode(second).toLowerCase());
  return isOne ? second : null;
}

function charNode(set: CharSet): RegexNode {
  const single = singleOf(set);
  return {
    kind: "char",
    set,
    literal: single === null ? null : String.fromCodePoint(single).toLowerCase(),
  };
}
