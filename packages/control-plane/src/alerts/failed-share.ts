/** Whether more jobs fail than usual (CONTRACTS C2): the last 15 minutes against the day before them. */
import type { Sample } from "@holdfast/alerts";
import { percentText } from "./words.ts";

/** How jobs ended within some time that begins at an instant, epoch ms. */
export interface EndsFrom {
  readonly at: number;
  readonly completed: number;
  readonly failed: number;
}

const MINUTE_MS = 60_000;
/** The time whose share is looked at, and the length of what is kept of the day. */
export const QUARTER_MS = 15 * MINUTE_MS;
export const DAY_MS = 24 * 60 * MINUTE_MS;
/** Minutes are counted for two hours; the margin is for what is folded late. */
const COUNTED_MS = 105 * MINUTE_MS;
/** Stands for "failures where there were none": a rise has to be a number. */
const RISE_MAX = 1_000;

/** Quarters of an hour that are over and of which every minute is still counted. */
export function wholeQuarters(minutes: readonly EndsFrom[], now: number): EndsFrom[] {
  const quarters = new Map<number, { completed: number; failed: number }>();
  for (const { at, completed, failed } of minutes) {
    const from = Math.floor(at / QUARTER_MS) * QUARTER_MS;
    if (from + QUARTER_MS > now || from < now - COUNTED_MS) continue;
    const known = quarters.get(from) ?? { completed: 0, failed: 0 };
    quarters.set(from, {
      completed: known.completed + completed,
      failed: known.failed + failed,
    });
  }
  return [...quarters].map(([at, ends]) => ({ at, ...ends }));
}

/** Samples of the share of failed jobs, of how much more that is than on the day before, and of their number. */
export function failedShares(
  minutes: readonly EndsFrom[],
  quarters: readonly EndsFrom[],
  now: number,
): readonly Sample[] {
  const recent = sum(minutes.filter(({ at }) => at >= now - QUARTER_MS));
  const before = sum(
    quarters.filter(({ at }) => at >= now - DAY_MS && at + QUARTER_MS <= now - QUARTER_MS),
  );
  const share = shareOf(recent);
  const usual = shareOf(before);
  const rise = share === 0 ? 0 : Math.min(RISE_MAX, usual === 0 ? RISE_MAX : share / usual);
  const words = `${recent.failed} of ${recent.completed + recent.failed}; on the day before ${percentText(usual)}`;
  return [
    { metric: "jobs_failed_share", labels: {}, value: share, words },
    { metric: "jobs_failed_share_rise", labels: {}, value: rise },
    { metric: "jobs_failed_recently", labels: {}, value: recent.failed },
  ];
}

/** The ends of several times together. */
export function sum(all: readonly EndsFrom[]): {
  readonly completed: number;
  readonly failed: number;
} {
  return {
    completed: all.reduce((total, { completed }) => total + completed, 0),
    failed: all.reduce((total, { failed }) => total + failed, 0),
  };
}

/** The share of failed ones; 0 when none ended. */
export function shareOf({ completed, failed }: Omit<EndsFrom, "at">): number {
  const ended = completed + failed;
  return ended === 0 ? 0 : failed / ended;
}
