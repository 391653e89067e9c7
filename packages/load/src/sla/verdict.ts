/** What was measured against what is promised. */
import { assertNever } from "@holdfast/runtime";
import { rateInterval } from "../compare/rates.ts";
import type { LoadSummary } from "../summary/model.ts";
import type { SlaTargets } from "./targets.ts";

/** A figure, and out of how many of what is in its name it came: jobs, trials or losses. */
export interface SlaFigure {
  readonly value: number;
  readonly from: number;
  /** Of a search: of the trial with so many books. */
  readonly books?: number;
}

/** What was measured; null what was not. */
export interface SlaFacts {
  readonly imagesPerMinute: SlaFigure | null;
  /** From the jobs of the largest trial that missed no other target. */
  readonly simultaneousBooks: SlaFigure | null;
  readonly latencyP95Seconds: SlaFigure | null;
  /** `from`: jobs that ended by themselves. A job that recovery saved has not failed. */
  readonly failedPercent: SlaFigure | null;
  /** The longest. */
  readonly recoverySeconds: SlaFigure | null;
}

/** Metrics of an SLA. */
export type SlaMetric = keyof SlaFacts;

/** One metric. */
export interface SlaMetricVerdict {
  readonly metric: SlaMetric;
  /** At least, or at most. */
  readonly bound: "min" | "max";
  /** Null: not judged. */
  readonly target: number | null;
  readonly measured: SlaFigure | null;
  readonly state: "met" | "breached" | "not_measured" | "not_judged";
  /** Whether it came out of enough to say so: another run would hardly say otherwise. */
  readonly isSure: boolean;
}

/** All of them. */
export interface SlaVerdict {
  /** `incomplete`: nothing is breached, and something was not measured. */
  readonly state: "met" | "breached" | "incomplete";
  readonly metrics: readonly SlaMetricVerdict[];
}

const MS_PER_SECOND = 1_000;
const PERCENT = 100;
/** A percentile needs a job beyond it. */
const P95_JOBS = 20;
const RATE_JOBS = 10;

/** Nothing measured yet. */
export const NO_SLA_FACTS: SlaFacts = {
  imagesPerMinute: null,
  simultaneousBooks: null,
  latencyP95Seconds: null,
  failedPercent: null,
  recoverySeconds: null,
};

/** What a load run says; books at a time and recovery are measured otherwise. */
export function slaFactsOf(summary: LoadSummary): SlaFacts {
  const { imagesPerMinute, phases, steady, successRate } = summary;
  const { jobs, ended } = steady ?? { jobs: 0, ended: 0 };
  const total = phases.total;
  return {
    ...NO_SLA_FACTS,
    imagesPerMinute: imagesPerMinute === null ? null : { value: imagesPerMinute, from: jobs },
    latencyP95Seconds:
      total === null ? null : { value: total.p95 / MS_PER_SECOND, from: total.count },
    failedPercent:
      successRate === null ? null : { value: (1 - successRate) * PERCENT, from: ended },
  };
}

/** Judges what was measured by the targets. */
export function judgeSla(targets: SlaTargets, facts: SlaFacts): SlaVerdict {
  const metrics: readonly SlaMetricVerdict[] = [
    judged("imagesPerMinute", "min", targets.imagesPerMinuteMin, facts),
    judged("simultaneousBooks", "min", targets.simultaneousBooksMin, facts),
    judged("latencyP95Seconds", "max", targets.latencyP95SecondsMax, facts),
    judged("failedPercent", "max", targets.failedPercentMax, facts),
    judged("recoverySeconds", "max", targets.recoverySecondsMax, facts),
  ];
  const has = (state: SlaMetricVerdict["state"]): boolean =>
    metrics.some((one) => one.state === state);
  if (has("breached")) return { state: "breached", metrics };
  return { state: has("not_measured") || !has("met") ? "incomplete" : "met", metrics };
}

function judged(
  metric: SlaMetric,
  bound: "min" | "max",
  target: number | null,
  facts: SlaFacts,
): SlaMetricVerdict {
  const measured = facts[metric];
  const facing = { metric, bound, target, measured };
  if (target === null) return { ...facing, state: "not_judged", isSure: true };
  if (measured === null) return { ...facing, state: "not_measured", isSure: false };
  const isMet = bound === "min" ? measured.value >= target : measured.value <= target;
  const state = isMet ? "met" : "breached";
  return { ...facing, state, isSure: isSureOf(metric, measured, target, isMet) };
}

function isSureOf(metric: SlaMetric, { value, from }: SlaFigure, target: number, isMet: boolean) {
  switch (metric) {
    case "latencyP95Seconds":
      return from >= P95_JOBS;
    case "imagesPerMinute":
      return from >= RATE_JOBS;
    case "failedPercent": {
      if (from === 0) return false;
      const { low, high } = rateInterval({ count: (value / PERCENT) * from, of: from });
      return isMet ? high * PERCENT <= target : low * PERCENT > target;
    }
    case "simultaneousBooks":
    case "recoverySeconds":
      return from >= 1;
    default:
      return assertNever(metric);
  }
}
