/** Histograms of the phases of many jobs. */
import { PHASES, phasesOf, type Phase } from "../sample/phases.ts";
import { threeDigits, type JobSample } from "../sample/job-sample.ts";
import { createHistogram, type Histogram } from "./histogram.ts";
import type { Percentiles, PhaseSummary } from "./model.ts";

/** Histograms are of whole microseconds. */
const PER_MS = 1_000;

/** The phases of many jobs. */
export interface PhaseHistograms {
  /**
   * Adds a job's phases if it completed. Of one that timed out the total counts, as what it had by then:
   * without those, the more time out the better the percentiles would look.
   */
  add(sample: JobSample): void;
  summary(): PhaseSummary;
}

/** No jobs yet. */
export function createPhaseHistograms(): PhaseHistograms {
  const histograms: Readonly<Record<Phase, Histogram>> = {
    harness: createHistogram(),
    submit: createHistogram(),
    queue: createHistogram(),
    model_load: createHistogram(),
    execute: createHistogram(),
    collect: createHistogram(),
    total: createHistogram(),
  };
  return {
    add(sample) {
      if (!hasLatency(sample)) return;
      if (sample.outcome === "timed_out") {
        histograms.total.record(totalMicros(sample));
        return;
      }
      const times = phasesOf(sample);
      for (const phase of PHASES) {
        const ms = times[phase];
        if (ms !== null) histograms[phase].record(ms * PER_MS);
      }
    },
    summary: () => ({
      harness: percentilesOf(histograms.harness),
      submit: percentilesOf(histograms.submit),
      queue: percentilesOf(histograms.queue),
      model_load: percentilesOf(histograms.model_load),
      execute: percentilesOf(histograms.execute),
      collect: percentilesOf(histograms.collect),
      total: percentilesOf(histograms.total),
    }),
  };
}

/** Whether a job's total is a latency, or the least of what it would have been. */
export function hasLatency({ outcome }: JobSample): boolean {
  return outcome === "completed" || outcome === "timed_out";
}

/** From when a job was meant to begin to its end, in microseconds. */
export function totalMicros({ intendedMs, endedMs }: JobSample): number {
  return (endedMs - intendedMs) * PER_MS;
}

/** Percentiles of a histogram of microseconds, in ms; null without values. */
export function percentilesOf(histogram: Histogram): Percentiles | null {
  if (histogram.count() === 0) return null;
  return {
    count: histogram.count(),
    p50: toMs(histogram.quantile(0.5)),
    p90: toMs(histogram.quantile(0.9)),
    p95: toMs(histogram.quantile(0.95)),
    p99: toMs(histogram.quantile(0.99)),
    max: toMs(histogram.max()),
    mean: toMs(histogram.mean()),
  };
}

function toMs(micros: number | null): number {
  return threeDigits((micros ?? 0) / PER_MS);
}
