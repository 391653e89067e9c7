/** Alert rules as operators write them, and what is wrong with them in words. */
import { BUILT_IN_RULES } from "./built-in-rules.ts";
import { cleanText } from "./label-text.ts";
import {
  listIn,
  parseList,
  readObject,
  type Parsed,
  type Reader,
  type ReadingProblem,
} from "./reading.ts";
import {
  LABEL_NAME,
  LABEL_VALUE_MAX,
  LABELS_MAX,
  METRIC_NAME,
  RULE_NAME,
  RULES_MAX,
  SEVERITIES,
  SUMMARY_MAX,
  type AlertRule,
  type RuleEntry,
  type Threshold,
} from "./rule.ts";

const RULE_FIELDS = [
  "name",
  "severity",
  "summary",
  "advice",
  "when",
  "alongside",
  "forMs",
  "resolveAfterMs",
  "noDataMs",
  "labels",
  "enabled",
] as const;
const THRESHOLD_FIELDS = ["metric", "where", "above", "below", "resolve"] as const;
const DAY_MS = 24 * 60 * 60 * 1_000;
const MINUTE_MS = 60_000;
const NO_DATA_MS = 5 * MINUTE_MS;
const ALONGSIDE_MAX = 5;

/** Most rules of operators' own; built-in ones that they replace count as well. */
export const OWN_RULES_MAX = RULES_MAX - BUILT_IN_RULES.length;

/** Reads one rule. `{"name": …, "enabled": false}` puts a built-in one out of force. Never throws. */
export function parseAlertRule(value: unknown): Parsed<RuleEntry> {
  const problems: ReadingProblem[] = [];
  const entry = readRule(value, "", problems);
  return problems.length > 0 ? { kind: "invalid", problems } : { kind: "ok", value: entry };
}

/** Reads a list of rules: `[…]`, or an object that holds it as `rules`. Never throws. */
export function parseAlertRules(value: unknown): Parsed<readonly RuleEntry[]> {
  const parsed = parseList(listIn(value, "rules"), "rules", OWN_RULES_MAX, readRule);
  if (parsed.kind === "invalid") return parsed;
  const names = parsed.value.map(entryName);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice === undefined) return parsed;
  const message = `the name ${twice} is used twice; give one of the rules another`;
  return { kind: "invalid", problems: [{ path: "name", message }] };
}

/** The name of an entry. */
export function entryName(entry: RuleEntry): string {
  return entry.kind === "rule" ? entry.rule.name : entry.name;
}

/** A rule as {@link parseAlertRule} reads it. */
export function toWireRule(entry: RuleEntry): Readonly<Record<string, unknown>> {
  if (entry.kind === "off") return { name: entry.name, enabled: false };
  const { when, alongside, ...rest } = entry.rule;
  return { ...rest, when: toWireThreshold(when), alongside: alongside.map(toWireThreshold) };
}

function toWireThreshold(threshold: Threshold): Readonly<Record<string, unknown>> {
  const { metric, where, comparison, value, resolveValue } = threshold;
  return { metric, where, [comparison]: value, resolve: resolveValue };
}

function readRule(value: unknown, path: string, problems: ReadingProblem[]): RuleEntry {
  const read = readObject(value, path, RULE_FIELDS, problems);
  const name = read.text("name", {
    pattern: RULE_NAME,
    what: "a name in snake_case of at most 60 letters, digits and _, such as queue_is_long",
  });
  if (!read.flag("enabled", true)) return { kind: "off", name };
  const rule: AlertRule = {
    name,
    severity: read.choice("severity", SEVERITIES),
    // What a file says is stored with every alert, and a NUL in it would keep all of them from being so.
    summary: cleanText(read.text("summary", { max: SUMMARY_MAX }), SUMMARY_MAX),
    advice: read.has("advice")
      ? cleanText(read.text("advice", { max: SUMMARY_MAX }), SUMMARY_MAX)
      : null,
    when: readThreshold(read.object("when", THRESHOLD_FIELDS)),
    alongside: read
      .list("alongside", ALONGSIDE_MAX)
      .map((item) => readThreshold(readObject(item.value, item.path, THRESHOLD_FIELDS, problems))),
    forMs: read.number("forMs", { min: 0, max: DAY_MS, isWhole: true, byDefault: 0 }),
    resolveAfterMs: read.number("resolveAfterMs", {
      min: 0,
      max: DAY_MS,
      isWhole: true,
      byDefault: MINUTE_MS,
    }),
    noDataMs: read.number("noDataMs", {
      min: MINUTE_MS,
      max: 7 * DAY_MS,
      isWhole: true,
      byDefault: NO_DATA_MS,
    }),
    labels: read.texts("labels", LABEL_NAME, LABELS_MAX, LABEL_VALUE_MAX),
  };
  return { kind: "rule", rule };
}

function readThreshold(read: Reader): Threshold {
  const metric = read.text("metric", {
    pattern: METRIC_NAME,
    what: "the name of a metric, such as jobs_oldest_queued_seconds",
  });
  const where = read.texts("where", LABEL_NAME, LABELS_MAX, LABEL_VALUE_MAX);
  if (read.has("above") === read.has("below")) {
    const both = read.has("above") ? "both" : "neither";
    read.problem("above", `expected either above or below, found ${both}`);
  }
  const comparison = read.has("below") ? "below" : "above";
  const bounds = { min: -Number.MAX_VALUE, max: Number.MAX_VALUE };
  const value = read.number(comparison, { ...bounds, byDefault: 0 });
  const resolveValue = read.number("resolve", { ...bounds, byDefault: value });
  const isTurned = comparison === "above" ? resolveValue > value : resolveValue < value;
  if (isTurned) {
    const side = comparison === "above" ? "at most" : "at least";
    read.problem(
      "resolve",
      `expected ${side} ${value}, as ${comparison} says, found ${resolveValue}`,
    );
  }
  return { metric, where, comparison, value, resolveValue };
}
