/** A trial with so many books at a time: how many jobs it takes, and what it came to. Pure. */
import { threeDigits } from "../sample/job-sample.ts";
import type { LoadSummary } from "../summary/model.ts";
import type { MeasuredTrial } from "./runbook.ts";
import type { Sla } from "./targets.ts";
import { judgeSla, NO_SLA_FACTS, slaFactsOf } from "./verdict.ts";

/** A percentile of 95 in 100 needs more than this. */
const JOBS_MIN = 24;

/** How a trial is sent. */
export interface TrialPlan {
  readonly inFlight: number;
  readonly jobs: number;
}

/**
 * As many pages as the books have, and more books one after the other where those are too few for a
 * percentile. Each book has `window` pages in flight, so a page is released as soon as one of them ends.
 */
export function trialPlan(books: number, { pagesPerBook }: Sla, window: number): TrialPlan {
  const inRow = Math.max(1, Math.ceil(JOBS_MIN / (books * pagesPerBook)));
  return {
    inFlight: books * Math.min(window, pagesPerBook),
    jobs: books * pagesPerBook * inRow,
  };
}

/**
 * What a trial came to. Throughput breaches nothing here: one book alone may ask for less than the target,
 * and would be refused for it.
 */
export function measuredTrial(books: number, summary: LoadSummary, sla: Sla): MeasuredTrial {
  const { latencyP95Seconds, failedPercent } = slaFactsOf(summary);
  const facts = { ...NO_SLA_FACTS, latencyP95Seconds, failedPercent };
  const valueOf = (figure: typeof failedPercent) =>
    figure === null ? null : threeDigits(figure.value);
  return {
    books,
    level: books,
    throughputPerMinute: threeDigits(summary.imagesPerMinute ?? 0),
    latencyP95Seconds: valueOf(latencyP95Seconds),
    failedPercent: valueOf(failedPercent),
    jobs: summary.steady?.ended ?? 0,
    // Where nothing completed there is no latency to judge, and no service either.
    isBreached: latencyP95Seconds === null || judgeSla(sla.targets, facts).state === "breached",
  };
}
