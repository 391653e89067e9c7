import type { ErrorStrategy } from "../strategy.ts";

/** What an adjustment does to a number, or that it replaces a value. */
export const ADJUSTMENT_OPERATIONS = ["reduce", "increase", "multiply", "set"] as const;

/** One of {@link ADJUSTMENT_OPERATIONS}. */
export type AdjustmentOperation = (typeof ADJUSTMENT_OPERATIONS)[number];

interface Bounds {
  /** The result is never under it, where the value itself is not. */
  readonly min?: number;
  /** The result is never over it, where the value itself is not. */
  readonly max?: number;
}

/** A change of one parameter of a graph. */
export type ParameterAdjustment =
  | (Bounds & {
      /** `reduce`: times a factor under 1. `increase`: over 1. `multiply`: any over 0. */
      readonly operation: "reduce" | "increase" | "multiply";
      readonly factor: number;
    })
  | (Bounds & { readonly operation: "set"; readonly value: number | string | boolean });

/** Adjustments by the parameter's name: one of C1, `node.input`, or an input's name anywhere. */
export type ParameterAdjustments = Readonly<Record<string, ParameterAdjustment>>;

/** An error that an operator described: how to know it, and what to do about it (C1). */
export interface CustomPattern {
  /** Unique; names it in routes, logs and decisions. */
  readonly name: string;
  /** A built-in class, or a name of the operator's own. */
  readonly errorType: string;
  /** Regular expressions in RE2's syntax, of which one must match; letters in either case. */
  readonly patterns: readonly string[];
  readonly strategy: ErrorStrategy;
  readonly parameterAdjustments: ParameterAdjustments;
  /** Tries that this error may cost a job; null leaves it to `MAX_RETRY_ATTEMPTS`. */
  readonly maxRetries: number | null;
}

/** Most custom patterns there may be. */
export const CUSTOM_PATTERNS_MAX = 200;
/** Most regular expressions of one pattern. */
export const REGEXES_PER_PATTERN_MAX = 20;
/** Most regular expressions of all patterns together. */
export const REGEXES_MAX = 600;
/** Most regular expressions without a word that must stand in the message: each is tried on all. */
export const WORDLESS_REGEXES_MAX = 16;
/** Longest regular expression, in UTF-16 units. */
export const REGEX_LENGTH_MAX = 500;
/** Largest program that re2js may make of a regular expression, in instructions. */
export const REGEX_PROGRAM_MAX = 500;
/** Most adjustments of one pattern. */
export const ADJUSTMENTS_MAX = 32;
/** Longest name of a parameter, and longest text that a parameter may be set to. */
export const PARAMETER_TEXT_MAX = 1_000;
/** Largest factor: a longer lever is a slip of the pen. */
export const FACTOR_MAX = 100;
/** Most tries that a pattern may ask for, as for `MAX_RETRY_ATTEMPTS`. */
export const CUSTOM_RETRIES_MAX = 100;
