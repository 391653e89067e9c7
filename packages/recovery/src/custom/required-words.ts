import { assertNever } from "@holdfast/runtime";
import { asciiMembers } from "./char-set.ts";
import type { RegexNode } from "./regex-tree.ts";

/** Shortest word worth looking for: a single letter stands in every message. */
export const WORD_MIN = 2;
/** Longest word looked for: enough to be rare, and the index stays small. */
export const WORD_MAX = 12;
/** Most words of which one must stand in the message. */
const WORDS_MAX = 8;
/** Longest text followed letter by letter before it is cut into words. */
const EXACT_MAX = 40;

/**
 * Words, in lower case, of which one must stand in every text that the pattern matches; the rarest
 * looking choice. Null when there is none: then the pattern has to be tried on every message.
 */
export function requiredWords(tree: RegexNode): readonly string[] | null {
  const { exact, needs } = learn(tree);
  return best(exact === null ? needs : [...needs, exact]);
}

/** What is known of a part: all texts it may match, or word lists of which each has one in the text. */
interface Knowledge {
  readonly exact: readonly string[] | null;
  readonly needs: readonly (readonly string[])[];
}

const NOTHING: Knowledge = { exact: null, needs: [] };

function learn(node: RegexNode): Knowledge {
  switch (node.kind) {
    case "empty":
      return { exact: [""], needs: [] };
    case "char":
      return learnChar(node);
    case "sequence":
      return node.parts.map(learn).reduce<Knowledge>(join, { exact: [""], needs: [] });
    case "choice":
      return learnChoice(node.branches.map(learn));
    case "repeat":
      return learnRepeat(node);
    default:
      return assertNever(node);
  }
}

/** White space and apostrophes are written in several ways: no word goes over them, but for a blank. */
const UNSURE = /[^\S ]|[\u2018\u2019]/;

function learnChar(node: Extract<RegexNode, { kind: "char" }>): Knowledge {
  const members =
    node.literal === null
      ? node.set.beyond === "none"
        ? [...new Set(asciiMembers(node.set).toLowerCase())]
        : []
      : [node.literal];
  const isKnown = members.length > 0 && members.length <= 4 && !members.some((m) => UNSURE.test(m));
  return isKnown ? { exact: members, needs: [] } : NOTHING;
}

function join(before: Knowledge, next: Knowledge): Knowledge {
  const needs = [...before.needs, ...next.needs];
  if (before.exact !== null && next.exact !== null) {
    const both = before.exact.flatMap((a) => (next.exact ?? []).map((b) => a + b));
    const fits = both.length <= WORDS_MAX && both.every((text) => text.length <= EXACT_MAX);
    if (fits) return { exact: [...new Set(both)], needs };
  }
  // What was read letter by letter so far is one of the needs; a new word begins behind it.
  if (before.exact !== null) needs.push(before.exact);
  return { exact: next.exact, needs };
}

function learnChoice(branches: readonly Knowledge[]): Knowledge {
  const exact = branches.flatMap((branch) => branch.exact ?? []);
  if (branches.every((branch) => branch.exact !== null) && exact.length <= WORDS_MAX) {
    return { exact: [...new Set(exact)], needs: [] };
  }
  const words: string[] = [];
  for (const { exact: own, needs } of branches) {
    const chosen = best(own === null ? needs : [...needs, own]);
    if (chosen === null) return NOTHING;
    words.push(...chosen);
  }
  return { exact: null, needs: [words] };
}

function learnRepeat({ body, min, max }: Extract<RegexNode, { kind: "repeat" }>): Knowledge {
  const inner = learn(body);
  if (min === 1 && max === 1) return inner;
  if (min === 0) {
    const isOptional = max === 1 && inner.exact !== null && inner.exact.length < WORDS_MAX;
    return isOptional ? { exact: [...new Set([...inner.exact, ""])], needs: [] } : NOTHING;
  }
  return { exact: null, needs: inner.exact === null ? inner.needs : [...inner.needs, inner.exact] };
}

/** The list whose shortest word is longest, each word cut to its end that is looked for. */
function best(needs: readonly (readonly string[])[]): readonly string[] | null {
  let chosen: readonly string[] | null = null;
  for (const words of needs) {
    if (words.length === 0 || words.length > WORDS_MAX || shortest(words) < WORD_MIN) continue;
    if (chosen === null || worth(words) > worth(chosen)) chosen = words;
  }
  return chosen === null ? null : [...new Set(chosen.map((word) => word.slice(0, WORD_MAX)))];
}

function shortest(words: readonly string[]): number {
  return Math.min(...words.map((word) => word.trim().length));
}

function worth(words: readonly string[]): number {
  return Math.min(shortest(words), WORD_MAX) - words.length / (WORDS_MAX + 1);
}
