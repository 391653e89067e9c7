import type { ErrorClass } from "../error-class.ts";
import type { EvidenceChannel } from "../evidence.ts";

/**
 * One row of the pattern table: words that tell a class. Rows are data. Of the rows that fit, the
 * one with the highest confidence decides; among equals, the one listed first.
 *
 * Bands of confidence: 0.95 and over, words that mean just this; about 0.85, usual words for it;
 * about 0.7, words that now and then mean something else; 0.55 and under, a hint.
 */
export interface MessageRule {
  /** `family.what`, unique and stable: it is stored with every decision. */
  readonly name: string;
  readonly class: ErrorClass;
  readonly subclass: string | null;
  readonly confidence: number;
  /** Where the words come from: lines of the labelled sample, or the program and its version. */
  readonly from: string;
  /** Lower-case words of which one must stand in the message; a blank matches any white space. */
  readonly needles: readonly string[];
  /**
   * Must match near a needle, when given. Linear: no quantifier inside a quantified group unless
   * every turn of it must consume a character of its own, and gaps are bounded.
   */
  readonly pattern?: RegExp;
  /** How far before and past the start of a needle the patterns look; the usual window without it. */
  readonly reach?: number;
  /** Must not match near the needle. */
  readonly unless?: RegExp;
  /** Applies to these channels only. */
  readonly channels?: readonly EvidenceChannel[];
  /** Applies to all channels but these. */
  readonly notChannels?: readonly EvidenceChannel[];
}
