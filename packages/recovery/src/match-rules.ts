import type { EvidenceChannel } from "./evidence.ts";
import type { HitsByNeedle, NeedleBook, NeedleHits } from "./needle-index.ts";
import type { MessageRule } from "./rules/rule.ts";

/** How far before a needle a rule's pattern may look. */
const WINDOW_BEFORE = 240;
/** How far past the start of a needle a rule's pattern may look. */
const WINDOW_AFTER = 640;
/** Longest text kept of what a rule matched. */
const MATCHED_MAX = 120;

/** A rule that fitted, and the words it saw. */
export interface RuleMatch {
  readonly rule: MessageRule;
  readonly matched: string;
}

/** Compiled rules: answers the surest rule that fits a message with these hits, or null. */
export type RuleMatcher = (
  message: string,
  channel: EvidenceChannel,
  hits: HitsByNeedle,
) => RuleMatch | null;

interface IndexedRule {
  readonly rule: MessageRule;
  readonly needles: readonly number[];
}

/**
 * Compiles rules once; their needles go into the book. The matcher tries, surest first, the rules
 * whose needles occur, each in a window around the places that were kept: with one pass over the
 * message for all needles, its time grows with the length of the message, and hardly with the number
 * of rules.
 */
export function compileRules(rules: readonly MessageRule[], book: NeedleBook): RuleMatcher {
  const indexed: IndexedRule[] = rules.map((rule) => ({
    rule,
    needles: rule.needles.map((needle) => book.numberOf(needle)),
  }));
  // The sort is stable: among equally sure rules the one listed first stays first.
  indexed.sort((a, b) => b.rule.confidence - a.rule.confidence);
  return (message, channel, hits) => {
    if (hits.size === 0) return null;
    for (const { rule, needles } of indexed) {
      if (!appliesTo(rule, channel)) continue;
      for (const needle of needles) {
        const found = hits.get(needle);
        const matched = found === undefined ? null : matchNear(rule, message, found);
        if (matched !== null) return { rule, matched };
      }
    }
    return null;
  };
}

function appliesTo(rule: MessageRule, channel: EvidenceChannel): boolean {
  if (rule.channels !== undefined && !rule.channels.includes(channel)) return false;
  return rule.notChannels === undefined || !rule.notChannels.includes(channel);
}

function matchNear(rule: MessageRule, message: string, hits: NeedleHits): string | null {
  for (const start of hits.starts) {
    const from = Math.max(0, start - (rule.reach ?? WINDOW_BEFORE));
    const window = message.slice(from, start + (rule.reach ?? WINDOW_AFTER));
    if (rule.unless?.test(window) === true) continue;
    if (rule.pattern === undefined) return excerpt(message.slice(start));
    const match = rule.pattern.exec(window);
    if (match !== null) return excerpt(match[0]);
  }
  return null;
}

/** The first line of a text, shortened. */
function excerpt(text: string): string {
  const line = text.slice(0, MATCHED_MAX).split("\n", 1)[0] ?? "";
  return line.trim();
}
