/** What an alert rule is: a threshold on a metric, and how long it has to hold. */

/** How bad something is, the least first. */
export const SEVERITIES = ["info", "warning", "critical"] as const;
/** One of {@link SEVERITIES}. */
export type Severity = (typeof SEVERITIES)[number];

/** Names by which samples and alerts are told apart. */
export type Labels = Readonly<Record<string, string>>;

/** A value that is too high or too low. */
export interface Threshold {
  readonly metric: string;
  /** Only series with these labels. */
  readonly where: Labels;
  readonly comparison: "above" | "below";
  /** Beyond it, and not at it, something is wrong. */
  readonly value: number;
  /**
   * Where it is right again: at it or on the good side of it. Between the two nothing changes, so that a
   * value that swings about the threshold is one alert and not many.
   */
  readonly resolveValue: number;
}

/** When somebody is to be alerted. */
export interface AlertRule {
  /** Unique; snake_case. */
  readonly name: string;
  readonly severity: Severity;
  /** One sentence with `{value}`, `{percent}`, `{duration}`, `{words}` and names of labels in braces. */
  readonly summary: string;
  /** What an operator does about it, in one sentence; null when the rule does not say. */
  readonly advice: string | null;
  /** Each series of its metric is an alert of its own. */
  readonly when: Threshold;
  /** These have to hold too; a series of theirs counts for all alerts that have its labels. */
  readonly alongside: readonly Threshold[];
  /** So long it has to hold before somebody is told. */
  readonly forMs: number;
  /** So long it has to be right again before that is told. */
  readonly resolveAfterMs: number;
  /** So long an alert outlives its data. */
  readonly noDataMs: number;
  /** Given to every alert of the rule. */
  readonly labels: Labels;
}

/** A rule of an operator's, or that a rule of this name is not wanted. */
export type RuleEntry =
  | { readonly kind: "rule"; readonly rule: AlertRule }
  | { readonly kind: "off"; readonly name: string };

/** One value of a metric now. */
export interface Sample {
  readonly metric: string;
  readonly labels: Labels;
  readonly value: number;
  /** What stands behind the value, for a person. */
  readonly words?: string;
}

/**
 * What was seen at an instant. A metric that was told and has no sample of a series says that there is
 * nothing of the kind; one that was not told says nothing.
 */
export interface Observation {
  readonly told: readonly string[];
  readonly samples: readonly Sample[];
}

/** Most rules, built-in ones included. */
export const RULES_MAX = 200;
/** Most alerts of one rule at a time; further series are counted and left out. */
export const SERIES_PER_RULE_MAX = 100;
/** Most labels of a sample or a rule, and longest value of one. */
export const LABELS_MAX = 8;
export const LABEL_VALUE_MAX = 120;
/** Longest summary, and longest words of a sample. */
export const SUMMARY_MAX = 500;
export const WORDS_MAX = 300;

/** Names of rules. */
export const RULE_NAME = /^[a-z][a-z0-9_]{0,59}$/;
/** Names of labels, as Prometheus and its Alertmanager take them. */
export const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]{0,59}$/;
/** Names of metrics. */
export const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]{0,119}$/;

/** Whether the one is at least as bad as the other. */
export function isAtLeast(severity: Severity, least: Severity): boolean {
  return SEVERITIES.indexOf(severity) >= SEVERITIES.indexOf(least);
}
