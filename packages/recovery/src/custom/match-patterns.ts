import type { RE2JS } from "re2js";
import type { HitsByNeedle, NeedleBook } from "../needle-index.ts";
import { checkRegex } from "./check-regex.ts";
import type { CustomPattern } from "./custom-pattern.ts";

/** A custom pattern that fitted, and the words it saw. */
export interface CustomMatch {
  readonly pattern: CustomPattern;
  readonly matched: string;
}

/** Compiled patterns: answers the first, in their order, that fits a message with these hits, or null. */
export type CustomMatcher = (message: string, hits: HitsByNeedle) => CustomMatch | null;

/*
 * What is looked at. A message of up to WHOLE characters: all of it. Of a longer one a pattern with a
 * word that must stand in it sees the surroundings of that word's first three places and of the last
 * one; a pattern without such a word sees the head and the tail. At the cuts nothing counts as the
 * message's or a line's beginning or end. All patterns together read SCAN_MAX characters of one
 * message at most; then the rest is not tried.
 */
/** Longest message that every pattern sees whole. */
export const CUSTOM_WHOLE = 1_024;
/** How far before a word's start its surroundings go. */
export const CUSTOM_BEFORE = 256;
/** How far past a word's start they go. */
export const CUSTOM_AFTER = 640;
/** What a pattern without a word sees of a long message's head. */
export const CUSTOM_HEAD = 1_024;
/** And of its tail. */
export const CUSTOM_TAIL = 512;
/** Characters of one message that all patterns together read: some 0.2 ms. */
const SCAN_MAX = 24_576;
/** Stands at a cut: no pattern's beginning or end of a line, and no letter. */
const CUT = "\u0000";
/** Longest text kept of what a pattern matched. */
const MATCHED_MAX = 120;

interface CompiledRegex {
  readonly pattern: CustomPattern;
  readonly regex: RE2JS;
  /** Its words by their number in the index; null when it has none. */
  readonly words: readonly number[] | null;
}

interface Stretch {
  readonly from: number;
  readonly to: number;
}

/**
 * Compiles patterns that were parsed before; their words go into the book. One pass over the message
 * finds all of those; only expressions whose word stands there are run, near it. So the time grows
 * with the message and hardly with the number of patterns.
 */
export function compileCustomPatterns(
  patterns: readonly CustomPattern[],
  book: NeedleBook,
): CustomMatcher {
  const compiled: CompiledRegex[] = [];
  for (const pattern of patterns) {
    for (const text of pattern.patterns) {
      const checked = checkRegex(text);
      // Parsed patterns are good; one from a newer version's table may not be, and is left out.
      if (checked.kind === "bad") continue;
      const words = checked.words?.map((word) => book.numberOf(word));
      compiled.push({ pattern, regex: checked.regex, words: words ?? null });
    }
  }
  if (compiled.length === 0) return () => null;
  return (whole, hits) => {
    // ComfyUI ends every exception_message with a line feed, which nobody writes into a pattern.
    const message = whole.trimEnd();
    let left = SCAN_MAX;
    for (const { pattern, regex, words } of compiled) {
      for (const stretch of stretchesOf(message, words, hits)) {
        const text = cutOut(message, stretch);
        left -= text.length;
        if (left < 0) return null;
        if (regex.test(text)) return { pattern, matched: excerpt(regex, text) };
      }
    }
    return null;
  };
}

function stretchesOf(
  message: string,
  words: readonly number[] | null,
  hits: HitsByNeedle,
): readonly Stretch[] {
  const end = message.length;
  if (words === null) {
    if (end <= CUSTOM_HEAD + CUSTOM_TAIL) return [{ from: 0, to: end }];
    return [
      { from: 0, to: CUSTOM_HEAD },
      { from: end - CUSTOM_TAIL, to: end },
    ];
  }
  const starts = words.flatMap((word) => hits.get(word)?.starts ?? []);
  if (starts.length === 0) return NO_STRETCHES;
  if (end <= CUSTOM_WHOLE) return [{ from: 0, to: end }];
  return merge(
    starts
      .map((start) => ({
        from: Math.max(0, start - CUSTOM_BEFORE),
        to: Math.min(end, start + CUSTOM_AFTER),
      }))
      .sort((a, b) => a.from - b.from),
  );
}

const NO_STRETCHES: readonly Stretch[] = [];

/** Stretches that overlap are one: what is longer than a single one may match across both. */
function merge(stretches: readonly Stretch[]): readonly Stretch[] {
  const merged: Stretch[] = [];
  for (const stretch of stretches) {
    const last = merged.at(-1);
    if (last !== undefined && stretch.from <= last.to) {
      merged[merged.length - 1] = { from: last.from, to: Math.max(last.to, stretch.to) };
    } else {
      merged.push(stretch);
    }
  }
  return merged;
}

function cutOut(message: string, { from, to }: Stretch): string {
  const before = from === 0 ? "" : CUT;
  const after = to === message.length ? "" : CUT;
  return before + message.slice(from, to) + after;
}

/** The first line of what was matched, shortened. */
function excerpt(regex: RE2JS, text: string): string {
  const matcher = regex.matcher(text);
  const matched = matcher.find() ? (matcher.group() ?? "") : "";
  return matched.replaceAll(CUT, "").trim().split("\n", 1)[0]?.slice(0, MATCHED_MAX) ?? "";
}
