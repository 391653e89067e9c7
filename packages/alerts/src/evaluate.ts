/**
 * Which alerts there are. Pure: rules, what was seen, what is remembered and an instant in; what to
 * remember and what has changed out.
 *
 *     inactive → pending (it holds) → firing (it held for long enough) → resolved (right for long enough)
 *
 * I1 One alert a rule and set of labels: the same series never fires twice at once.
 * I2 A firing alert ends only by a value at or beyond its resolve value that lasts, by its series being
 *    gone for as long, by its metric not being told for long, or with its rule. Values between the
 *    threshold and the resolve value change nothing, in either direction.
 * I3 What is remembered is plain data: written, read back and gone on with, the changes are the same.
 * I4 A rule has at most so many alerts; those that are there stay, further ones are counted.
 */
import { alertKey, cleanLabels, cleanText, fillSummary, secondsText } from "./label-text.ts";
import {
  SERIES_PER_RULE_MAX,
  WORDS_MAX,
  type AlertRule,
  type Labels,
  type Observation,
  type Sample,
  type Severity,
  type Threshold,
} from "./rule.ts";

/** An alert that is there. Instants are epoch ms. */
export interface LiveAlert {
  /** Rule and labels; see `alertKey`. */
  readonly key: string;
  readonly rule: string;
  readonly severity: Severity;
  readonly labels: Labels;
  readonly state: "pending" | "firing";
  /** Since when it holds. */
  readonly since: number;
  /** Null while it is pending. */
  readonly firedAt: number | null;
  /** Since when it is right again; null while it is not. */
  readonly clearSince: number | null;
  /** Since when nothing is known of it; null while something is. */
  readonly missingSince: number | null;
  readonly value: number;
  readonly summary: string;
}

/** What is kept between two evaluations. */
export interface AlertMemory {
  readonly alerts: readonly LiveAlert[];
}

/** That an alert came, fired or went. */
export type AlertChange =
  | { readonly kind: "pending"; readonly alert: LiveAlert }
  | { readonly kind: "fired"; readonly alert: LiveAlert }
  | { readonly kind: "resolved"; readonly alert: LiveAlert; readonly reason: string }
  /** It was pending and did not last. */
  | { readonly kind: "dropped"; readonly alert: LiveAlert; readonly reason: string };

/** What an evaluation came to. */
export interface Evaluation {
  readonly memory: AlertMemory;
  readonly changes: readonly AlertChange[];
  /** Series for which a rule had no room. */
  readonly omitted: readonly { readonly rule: string; readonly count: number }[];
}

/** Nothing is remembered. */
export const NO_ALERTS: AlertMemory = { alerts: [] };

/** Looks at all rules. `now` is epoch ms and must not run backwards from one call to the next. */
export function evaluateAlerts(
  rules: readonly AlertRule[],
  observation: Observation,
  memory: AlertMemory,
  now: number,
): Evaluation {
  const seen = indexObservation(observation);
  const known = groupBy(memory.alerts, ({ rule }) => rule);
  const alerts: LiveAlert[] = [];
  const changes: AlertChange[] = [];
  const omitted: { rule: string; count: number }[] = [];
  for (const rule of rules) {
    const stepped = evaluateRule(rule, seen, known.get(rule.name) ?? [], now);
    known.delete(rule.name);
    alerts.push(...stepped.alerts);
    changes.push(...stepped.changes);
    if (stepped.omitted > 0) omitted.push({ rule: rule.name, count: stepped.omitted });
  }
  for (const alert of [...known.values()].flat()) {
    changes.push(ended(alert, "there is no such rule any more"));
  }
  return { memory: { alerts }, changes, omitted };
}

interface Seen {
  readonly told: ReadonlySet<string>;
  readonly byMetric: ReadonlyMap<string, readonly Sample[]>;
}

function indexObservation({ told, samples }: Observation): Seen {
  const usable = samples
    .filter(({ value }) => !Number.isNaN(value))
    .map((sample) => ({
      ...sample,
      value: toFinite(sample.value),
      labels: cleanLabels(sample.labels),
    }));
  const byMetric = groupBy(usable, ({ metric }) => metric);
  return { told: new Set([...told, ...byMetric.keys()]), byMetric };
}

/** JSON has no number without end; as null it would make the alert unreadable for whoever is told. */
function toFinite(value: number): number {
  return Math.max(-Number.MAX_VALUE, Math.min(Number.MAX_VALUE, value));
}

function groupBy<T>(all: readonly T[], nameOf: (one: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const name = nameOf(one);
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [one]);
    else group.push(one);
  }
  return groups;
}

interface RuleStep {
  readonly alerts: readonly LiveAlert[];
  readonly changes: readonly AlertChange[];
  readonly omitted: number;
}

function evaluateRule(
  rule: AlertRule,
  seen: Seen,
  known: readonly LiveAlert[],
  now: number,
): RuleStep {
  const alerts: LiveAlert[] = [];
  const changes: AlertChange[] = [];
  const keep = (step: Step): void => {
    if (step.alert !== null) alerts.push(step.alert);
    if (step.change !== null) changes.push(step.change);
  };
  const isTold = [rule.when, ...rule.alongside].every(({ metric }) => seen.told.has(metric));
  if (!isTold) {
    for (const alert of known) keep(stepMissing(rule, alert, now));
    return { alerts, changes, omitted: 0 };
  }
  const series = worstByKey(rule, seen);
  for (const alert of known) {
    keep(stepKnown(rule, alert, series.get(alert.key), seen, now));
    series.delete(alert.key);
  }
  // In the order of their keys, so that it is not chance which of too many are kept.
  const fresh = [...series]
    .filter(([, sample]) => holds(rule, sample, seen, "entered"))
    .toSorted(([one], [other]) => (one < other ? -1 : 1));
  const room = Math.max(0, SERIES_PER_RULE_MAX - alerts.length);
  for (const [key, sample] of fresh.slice(0, room)) keep(begin(rule, key, sample, now));
  return { alerts, changes, omitted: Math.max(0, fresh.length - room) };
}

/** The series of a rule's metric; of two samples of one series the worse counts (I1). */
function worstByKey(rule: AlertRule, seen: Seen): Map<string, Sample> {
  const series = new Map<string, Sample>();
  for (const sample of seen.byMetric.get(rule.when.metric) ?? []) {
    if (!hasLabels(sample.labels, rule.when.where)) continue;
    const key = alertKey(rule.name, sample.labels);
    const other = series.get(key);
    const isWorse =
      other === undefined ||
      (rule.when.comparison === "above" ? sample.value > other.value : sample.value < other.value);
    if (isWorse) series.set(key, sample);
  }
  return series;
}

function hasLabels(labels: Labels, wanted: Labels): boolean {
  return Object.entries(wanted).every(([name, value]) => labels[name] === value);
}

/** `entered`: beyond the threshold; `kept`: not yet back at the resolve value. */
type Border = "entered" | "kept";

function holds(rule: AlertRule, sample: Sample, seen: Seen, border: Border): boolean {
  if (!isBeyond(rule.when, sample.value, border)) return false;
  return rule.alongside.every((threshold) =>
    (seen.byMetric.get(threshold.metric) ?? []).some(
      ({ labels, value }) =>
        hasLabels(labels, threshold.where) &&
        hasLabels({ ...labels, ...sample.labels }, labels) &&
        isBeyond(threshold, value, border),
    ),
  );
}

function isBeyond(threshold: Threshold, value: number, border: Border): boolean {
  const limit = border === "entered" ? threshold.value : threshold.resolveValue;
  return threshold.comparison === "above" ? value > limit : value < limit;
}

interface Step {
  /** Null when it is not seen any more. */
  readonly alert: LiveAlert | null;
  readonly change: AlertChange | null;
}

function begin(rule: AlertRule, key: string, sample: Sample, now: number): Step {
  const isFiring = rule.forMs <= 0;
  const alert: LiveAlert = {
    key,
    rule: rule.name,
    severity: rule.severity,
    labels: { ...cleanLabels(rule.labels), ...sample.labels },
    state: isFiring ? "firing" : "pending",
    since: now,
    firedAt: isFiring ? now : null,
    clearSince: null,
    missingSince: null,
    ...told(rule, sample),
  };
  return { alert, change: { kind: isFiring ? "fired" : "pending", alert } };
}

function told(rule: AlertRule, sample: Sample): Pick<LiveAlert, "value" | "summary"> {
  const words = cleanText(sample.words ?? "", WORDS_MAX);
  return { value: sample.value, summary: fillSummary(rule.summary, { ...sample, words }) };
}

function stepKnown(
  rule: AlertRule,
  before: LiveAlert,
  sample: Sample | undefined,
  seen: Seen,
  now: number,
): Step {
  const border = before.state === "pending" ? "entered" : "kept";
  const isSo = sample !== undefined && holds(rule, sample, seen, border);
  const alert: LiveAlert = {
    ...before,
    severity: rule.severity,
    missingSince: null,
    // Of an alert that is right again the words of when it was not are kept: they are what it was.
    ...(isSo ? told(rule, sample) : {}),
  };
  if (alert.state === "pending") {
    if (!isSo) return { alert: null, change: ended(alert, "it did not last") };
    if (now - alert.since < rule.forMs) return { alert, change: null };
    const firing: LiveAlert = { ...alert, state: "firing", firedAt: now };
    return { alert: firing, change: { kind: "fired", alert: firing } };
  }
  if (isSo) return { alert: { ...alert, clearSince: null }, change: null };
  const clearSince = alert.clearSince ?? now;
  if (now - clearSince < rule.resolveAfterMs) {
    return { alert: { ...alert, clearSince }, change: null };
  }
  const reason = sample === undefined ? "it is not seen any more" : "it is right again";
  return { alert: null, change: ended({ ...alert, clearSince }, reason) };
}

/** Nobody told the metric: the alert stays as it is for a time (I2). */
function stepMissing(rule: AlertRule, before: LiveAlert, now: number): Step {
  const missingSince = before.missingSince ?? now;
  const alert: LiveAlert = { ...before, severity: rule.severity, missingSince };
  if (now - missingSince < rule.noDataMs) return { alert, change: null };
  const span = secondsText((now - missingSince) / 1_000);
  return { alert: null, change: ended(alert, `nothing was told of it for ${span}`) };
}

function ended(alert: LiveAlert, reason: string): AlertChange {
  return { kind: alert.state === "firing" ? "resolved" : "dropped", alert, reason };
}
