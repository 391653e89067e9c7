/** Which alerts are not to be delivered for a time. */
import { cleanText } from "./label-text.ts";
import { LABEL_NAME, LABEL_VALUE_MAX, SEVERITIES, type Labels, type Severity } from "./rule.ts";

/** A condition on the rule, the severity or a label of an alert. */
export interface Matcher {
  /** `rule`, `severity`, or the name of a label. */
  readonly name: string;
  readonly isEqual: boolean;
  /** `*` stands for any characters. */
  readonly value: string;
}

/** Matchers that all have to fit, from an instant until another (epoch ms). */
export interface Silence {
  readonly id: string;
  readonly matchers: readonly Matcher[];
  readonly startsAt: number;
  readonly endsAt: number;
}

/** What matchers look at. */
export interface Matchable {
  readonly rule: string;
  readonly severity: Severity;
  readonly labels: Labels;
}

/** Most matchers of a silence. */
export const MATCHERS_MAX = 10;
/** Longest silence. */
export const SILENCE_MS_MAX = 90 * 24 * 60 * 60 * 1_000;

const WRITTEN = /^([a-zA-Z_][a-zA-Z0-9_]*)(!?=)(.*)$/s;

/** Reads `rule=disk_full`, `machine!=box-*`; undefined for what is none. */
export function parseMatcher(text: string): Matcher | undefined {
  const [, name = "", sign, value = ""] = WRITTEN.exec(text) ?? [];
  if (!LABEL_NAME.test(name) || value.length > LABEL_VALUE_MAX) return undefined;
  return { name, isEqual: sign === "=", value: cleanText(value, LABEL_VALUE_MAX) };
}

/** A matcher as {@link parseMatcher} reads it. */
export function matcherText({ name, isEqual, value }: Matcher): string {
  return `${name}${isEqual ? "=" : "!="}${value}`;
}

/**
 * The first matcher that fits nothing for a typing error: of names of rules and severities it is known
 * which there are. Undefined when there is none; of labels nobody knows what comes.
 */
export function findMistaken(
  matchers: readonly Matcher[],
  rules: readonly string[],
): { readonly matcher: Matcher; readonly known: readonly string[] } | undefined {
  for (const matcher of matchers) {
    const known = namesOf(matcher.name, rules);
    if (known === undefined || known.some((one) => fits(one, matcher.value))) continue;
    return { matcher, known };
  }
  return undefined;
}

function namesOf(name: string, rules: readonly string[]): readonly string[] | undefined {
  if (name === "rule") return rules;
  return name === "severity" ? SEVERITIES : undefined;
}

/** Whether all matchers fit. A label that an alert does not have is empty. */
export function matches(matchers: readonly Matcher[], alert: Matchable): boolean {
  return matchers.every(
    ({ name, isEqual, value }) => fits(valueOf(alert, name), value) === isEqual,
  );
}

/** The silence that keeps an alert from being delivered now; undefined when none does. */
export function silenceOf<S extends Silence>(
  alert: Matchable,
  silences: readonly S[],
  now: number,
): S | undefined {
  return silences.find(
    ({ matchers, startsAt, endsAt }) => startsAt <= now && now < endsAt && matches(matchers, alert),
  );
}

function valueOf({ rule, severity, labels }: Matchable, name: string): string {
  if (name === "rule") return rule;
  if (name === "severity") return severity;
  return Object.hasOwn(labels, name) ? (labels[name] ?? "") : "";
}

/** By hand and not by a regular expression: patterns come from outside, and this takes linear time. */
function fits(text: string, pattern: string): boolean {
  const [first = "", ...others] = pattern.split("*");
  if (!text.startsWith(first)) return false;
  const last = others.pop();
  if (last === undefined) return text === first;
  let at = first.length;
  for (const part of others) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return text.length - last.length >= at && text.endsWith(last);
}
