/** Verdicts in words, for a terminal and a runbook alike. */
import type { SlaFigure, SlaMetric, SlaMetricVerdict } from "./verdict.ts";

/** What a metric is called, and its unit. */
export const SLA_METRIC_WORDS: Readonly<
  Record<SlaMetric, { readonly name: string; readonly unit: string; readonly definition: string }>
> = {
  imagesPerMinute: {
    name: "throughput",
    unit: "images/min",
    definition: "completed images a minute, in steady state",
  },
  simultaneousBooks: {
    name: "concurrency",
    unit: "books",
    definition: "most simultaneous books with no other target missed",
  },
  latencyP95Seconds: {
    name: "latency p95",
    unit: "s",
    definition: "from the request, or a page's release, to the rendered picture's address",
  },
  failedPercent: {
    name: "error budget",
    unit: "%",
    definition: "renders that failed or ran out of time, of all that ended",
  },
  recoverySeconds: {
    name: "recovery time",
    unit: "s",
    definition: "from the loss of a slot until it rendered again",
  },
};

/** `≥ 20 images/min`; `not judged` without a target. */
export function targetText({ metric, bound, target }: SlaMetricVerdict): string {
  if (target === null) return "not judged";
  return `${bound === "min" ? "≥" : "≤"} ${target} ${SLA_METRIC_WORDS[metric].unit}`;
}

/** `43.2 s (of 120)`, of a search's trial `43.2 s (of 120, 5 books)`; `not measured` without a figure. */
export function measuredText(metric: SlaMetric, figure: SlaFigure | null): string {
  if (figure === null) return "not measured";
  const { value, from, books } = figure;
  const trial = books === undefined ? "" : `, ${books} ${books === 1 ? "book" : "books"}`;
  return `${shortNumber(value)} ${SLA_METRIC_WORDS[metric].unit} (of ${from}${trial})`;
}

/** The state in words; a figure out of too little says so. */
export function stateText({ state, isSure }: SlaMetricVerdict): string {
  switch (state) {
    case "met":
    case "breached":
      return isSure ? state : `${state}, too little to be sure`;
    case "not_measured":
      return "not measured";
    default:
      return "not judged";
  }
}

/** Three significant digits, without an exponent. */
export function shortNumber(value: number): string {
  if (Math.abs(value) >= 100) return String(Math.round(value));
  return String(Number(value.toPrecision(3)));
}
