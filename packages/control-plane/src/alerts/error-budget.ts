/**
 * How fast the error budget is used up (CONTRACTS C4: at most 2 % of renders fail). Counted are jobs that
 * ended `completed`, `failed` or `timeout` and are still so: cancelled ones, graphs refused at submit and
 * jobs that were queued again by hand used up nothing.
 */
import { secondsText, type Sample } from "@holdfast/alerts";
import { shareOf, sum, type EndsFrom } from "./failed-share.ts";
import { percentText } from "./words.ts";

/** The share of jobs that is to complete: C4's target and its acceptance. */
const SUCCESS_TARGET = 0.98;
const MINUTE_MS = 60_000;
const MS_PER_SECOND = 1_000;
/** It has to burn over both: the long window says that it matters, the short one that it goes on. */
const LONG_MS = 60 * MINUTE_MS;
const SHORT_MS = 5 * MINUTE_MS;
/**
 * With fewer ends the short window reaches further back: of heavy graphs often none ends within five
 * minutes, which would resolve the alert and fire it again with every job.
 */
const SHORT_ENDS_MIN = 5;

/** Samples of how many times as fast as it may be the budget is used up, and by how many jobs. */
export function budgetBurn(minutes: readonly EndsFrom[], now: number): readonly Sample[] {
  const hour = minutes.filter(({ at }) => at >= now - LONG_MS);
  const long = sum(hour);
  const { ends: short, spanMs } = shortWindow(hour, now);
  const burn = Math.min(burnOf(long), burnOf(short));
  const ended = (ends: typeof long): string => `${ends.failed} of ${ends.completed + ends.failed}`;
  const words = [
    `${ended(long)} jobs failed in the last hour`,
    `${ended(short)} in the last ${secondsText(spanMs / MS_PER_SECOND)}`,
    `${percentText(1 - SUCCESS_TARGET)} may`,
  ].join(", ");
  return [
    { metric: "error_budget_burn_rate", labels: {}, value: burn, words },
    { metric: "error_budget_failed_jobs", labels: {}, value: long.failed },
  ];
}

function shortWindow(hour: readonly EndsFrom[], now: number) {
  for (let spanMs = SHORT_MS; ; spanMs += MINUTE_MS) {
    const ends = sum(hour.filter(({ at }) => at >= now - spanMs));
    const isEnough = ends.completed + ends.failed >= SHORT_ENDS_MIN;
    if (isEnough || spanMs >= LONG_MS) return { ends, spanMs };
  }
}

function burnOf(ends: Omit<EndsFrom, "at">): number {
  return shareOf(ends) / (1 - SUCCESS_TARGET);
}
