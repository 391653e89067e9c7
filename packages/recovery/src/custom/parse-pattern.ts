/** Reads custom patterns as operators write them (C1, snake_case), and says what is wrong with them. */
import { ERROR_STRATEGIES, type ErrorStrategy } from "../strategy.ts";
import { checkRegex } from "./check-regex.ts";
import {
  CUSTOM_PATTERNS_MAX,
  CUSTOM_RETRIES_MAX,
  REGEXES_MAX,
  REGEXES_PER_PATTERN_MAX,
  WORDLESS_REGEXES_MAX,
  type CustomPattern,
} from "./custom-pattern.ts";
import { parseAdjustments } from "./parse-adjustments.ts";
import { asObject, found, unknownFields, type PatternProblem } from "./pattern-problem.ts";

/** A custom pattern, or every problem with it. */
export type ParsedPattern =
  | { readonly kind: "ok"; readonly pattern: CustomPattern }
  | { readonly kind: "invalid"; readonly problems: readonly PatternProblem[] };

/** A list of custom patterns, or every problem with it. */
export type ParsedPatterns =
  | { readonly kind: "ok"; readonly patterns: readonly CustomPattern[] }
  | { readonly kind: "invalid"; readonly problems: readonly PatternProblem[] };

const FIELDS = [
  "name",
  "error_type",
  "patterns",
  "strategy",
  "parameter_adjustments",
  "max_retries",
] as const;
const NAME = /^[a-z][a-z0-9_]{0,59}$/;

/** Reads one pattern. `path` stands before the fields' names in the problems. Never throws. */
export function parseCustomPattern(value: unknown, path = ""): ParsedPattern {
  const object = asObject(value);
  if (object === null) {
    const message = `expected an object with error_type, patterns and strategy, found ${found(value)}`;
    return { kind: "invalid", problems: [{ path, message }] };
  }
  const at = (field: string): string => (path === "" ? field : `${path}.${field}`);
  const problems: PatternProblem[] = unknownFields(object, FIELDS, at);
  const errorType = readName(object["error_type"], at("error_type"), problems);
  const name =
    object["name"] === undefined || object["name"] === null
      ? errorType
      : readName(object["name"], at("name"), problems);
  const patterns = readRegexes(object["patterns"], at("patterns"), problems);
  const strategy = readStrategy(object["strategy"], at("strategy"), problems);
  const parameterAdjustments = parseAdjustments(
    object["parameter_adjustments"],
    at("parameter_adjustments"),
    problems,
  );
  const maxRetries = readRetries(object["max_retries"], at("max_retries"), problems);
  if (problems.length > 0) return { kind: "invalid", problems };
  return {
    kind: "ok",
    pattern: { name, errorType, patterns, strategy, parameterAdjustments, maxRetries },
  };
}

/** Reads a whole list: `[…]`, or an object that holds it as `patterns`. Never throws. */
export function parseCustomPatterns(value: unknown): ParsedPatterns {
  const list = Array.isArray(value) ? (value as unknown[]) : asObject(value)?.["patterns"];
  if (!Array.isArray(list)) {
    const message = `expected a list of patterns, found ${found(value)}`;
    return { kind: "invalid", problems: [{ path: "", message }] };
  }
  const problems: PatternProblem[] = [];
  if (list.length > CUSTOM_PATTERNS_MAX) {
    const message = `expected at most ${CUSTOM_PATTERNS_MAX} patterns, found ${list.length}`;
    return { kind: "invalid", problems: [{ path: "", message }] };
  }
  const patterns: CustomPattern[] = [];
  for (const [index, item] of list.entries()) {
    const parsed = parseCustomPattern(item, `[${index}]`);
    if (parsed.kind === "ok") patterns.push(parsed.pattern);
    else problems.push(...parsed.problems);
  }
  problems.push(...checkTogether(patterns));
  return problems.length > 0 ? { kind: "invalid", problems } : { kind: "ok", patterns };
}

/** What is wrong with patterns that are each right: names used twice, more than may be searched for. */
export function checkTogether(patterns: readonly CustomPattern[]): PatternProblem[] {
  const problems: PatternProblem[] = [];
  if (patterns.length > CUSTOM_PATTERNS_MAX) {
    const message = `expected at most ${CUSTOM_PATTERNS_MAX} patterns, found ${patterns.length}`;
    problems.push({ path: "", message });
  }
  const names = new Set<string>();
  for (const { name } of patterns) {
    if (names.has(name)) {
      const message = `the name ${name} is used twice; give one of them another \`name\``;
      problems.push({ path: "name", message });
    }
    names.add(name);
  }
  const regexes = patterns.flatMap((pattern) => pattern.patterns);
  if (regexes.length > REGEXES_MAX) {
    const message = `expected at most ${REGEXES_MAX} regular expressions in all patterns, found ${regexes.length}`;
    problems.push({ path: "patterns", message });
  }
  const wordless = regexes.filter((text) => {
    const checked = checkRegex(text);
    return checked.kind === "ok" && checked.words === null;
  });
  if (wordless.length > WORDLESS_REGEXES_MAX) {
    const message = `expected at most ${WORDLESS_REGEXES_MAX} regular expressions without a word of two letters that must stand in the message, found ${wordless.length}, such as ${JSON.stringify(wordless[0])}; each is tried on every message, so give the others a word`;
    problems.push({ path: "patterns", message });
  }
  return problems;
}

/** A pattern as the API shows it. */
export function toWirePattern(pattern: CustomPattern): Record<string, unknown> {
  return {
    name: pattern.name,
    error_type: pattern.errorType,
    patterns: pattern.patterns,
    strategy: pattern.strategy,
    parameter_adjustments: pattern.parameterAdjustments,
    max_retries: pattern.maxRetries,
  };
}

function readName(value: unknown, path: string, problems: PatternProblem[]): string {
  if (typeof value === "string" && NAME.test(value)) return value;
  problems.push({
    path,
    message: `expected a name in snake_case of at most 60 letters, digits and _, such as vendor_busy, found ${found(value)}`,
  });
  return "";
}

function readRegexes(value: unknown, path: string, problems: PatternProblem[]): string[] {
  if (!Array.isArray(value) || value.length === 0) {
    const message = `expected a list of one regular expression or more, found ${found(value)}`;
    problems.push({ path, message });
    return [];
  }
  if (value.length > REGEXES_PER_PATTERN_MAX) {
    const message = `expected at most ${REGEXES_PER_PATTERN_MAX} regular expressions, found ${value.length}; make several patterns of it`;
    problems.push({ path, message });
    return [];
  }
  const texts: string[] = [];
  for (const [index, text] of (value as unknown[]).entries()) {
    const checked =
      typeof text === "string"
        ? checkRegex(text)
        : { kind: "bad" as const, message: `expected a text, found ${found(text)}` };
    if (checked.kind === "bad")
      problems.push({ path: `${path}[${index}]`, message: checked.message });
    else texts.push(text as string);
  }
  return texts;
}

function readStrategy(value: unknown, path: string, problems: PatternProblem[]): ErrorStrategy {
  const known = ERROR_STRATEGIES.find((strategy) => strategy === value);
  if (known !== undefined) return known;
  const message = `expected one of ${ERROR_STRATEGIES.join(", ")}, found ${found(value)}`;
  problems.push({ path, message });
  return "ABORT";
}

function readRetries(value: unknown, path: string, problems: PatternProblem[]): number | null {
  if (value === undefined || value === null) return null;
  if (Number.isInteger(value) && Number(value) >= 0 && Number(value) <= CUSTOM_RETRIES_MAX) {
    return Number(value);
  }
  const message = `expected a whole number from 0 to ${CUSTOM_RETRIES_MAX}, or null for MAX_RETRY_ATTEMPTS, found ${found(value)}`;
  problems.push({ path, message });
  return null;
}
