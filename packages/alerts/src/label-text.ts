/** Labels and words from outside, brought into bounds, and alerts' summaries made of them. */
import {
  LABEL_NAME,
  LABEL_VALUE_MAX,
  LABELS_MAX,
  SUMMARY_MAX,
  WORDS_MAX,
  type Labels,
  type Sample,
} from "./rule.ts";

/** A text on one line without control characters, at most so long. */
export function cleanText(text: string, max: number): string {
  // oxlint-disable-next-line no-control-regex
  const line = text.replaceAll(/[\u0000-\u001F\u007F-\u009F\u2028\u2029]+/g, " ").trim();
  return (line.length <= max ? line : `${line.slice(0, max - 1)}…`).toWellFormed();
}

/** Labels with names that everybody takes, sorted by name; empty ones say nothing and are left out. */
export function cleanLabels(labels: Labels): Labels {
  const entries = Object.entries(labels)
    .filter(([name]) => LABEL_NAME.test(name))
    .map(([name, value]) => [name, cleanText(value, LABEL_VALUE_MAX)] as const)
    .filter(([, value]) => value !== "")
    .toSorted(([one], [other]) => (one < other ? -1 : 1));
  return Object.fromEntries(entries.slice(0, LABELS_MAX));
}

/** What tells alerts apart: the rule and the labels of the series. */
export function alertKey(rule: string, labels: Labels): string {
  const sorted = Object.entries(labels).toSorted(([one], [other]) => (one < other ? -1 : 1));
  return JSON.stringify([rule, ...sorted.flat()]);
}

const PLACEHOLDER = /\{([a-zA-Z_][a-zA-Z0-9_]*)\}/g;
const PERCENT = 100;
const MS_PER_SECOND = 1_000;

/** A rule's summary for one sample; a name that nothing is known of stays as it is written. */
export function fillSummary(
  template: string,
  { value, words = "", labels }: Pick<Sample, "value" | "words" | "labels">,
): string {
  const filled = template.replaceAll(PLACEHOLDER, (whole, name: string) => {
    if (name === "value") return numberText(value);
    if (name === "percent") return `${numberText(value * PERCENT)}%`;
    if (name === "duration") return secondsText(value);
    if (name === "words") return cleanText(words, WORDS_MAX);
    return Object.hasOwn(labels, name) ? (labels[name] ?? whole) : whole;
  });
  return cleanText(filled, SUMMARY_MAX);
}

/** The summary of an alert that is over: words of when it fired, alone, read as if it went on. */
export function overSummary(over: {
  readonly summary: string;
  readonly reason: string;
  readonly firedForMs: number;
}): string {
  const span = secondsText(over.firedForMs / MS_PER_SECOND);
  return cleanText(`Over after ${span}, ${over.reason}; it was: ${over.summary}`, SUMMARY_MAX);
}

/** A number with two decimals at most. */
export function numberText(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Math.round(value * 100) / 100);
}

const UNITS = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
] as const;

/** Seconds as a person reads them, in two units at most: `45 s`, `12 min`, `2 h 5 min`. */
export function secondsText(seconds: number): string {
  let left = Math.max(0, Math.round(seconds));
  const parts: string[] = [];
  for (const [size, unit] of UNITS) {
    const count = Math.floor(left / size);
    if (count > 0) parts.push(`${count} ${unit}`);
    left -= count * size;
  }
  if (left > 0 || parts.length === 0) parts.push(`${left} s`);
  return parts.slice(0, 2).join(" ");
}
