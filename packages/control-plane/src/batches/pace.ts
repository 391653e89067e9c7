/** How fast a book is rendered. Pure. */

/** When a page began and ended the round that it ended with, in epoch ms. */
export interface RenderedSpan {
  readonly startedAt: number;
  readonly endedAt: number;
}

/** How many pages ended last, in what time. Zeros: nobody knows. */
export interface RecentPace {
  readonly pages: number;
  readonly ms: number;
}

/** Pages ended last that the pace is taken from: fewer would jump, more would tell of yesterday. */
export const PACE_PAGES = 100;
const UNKNOWN: RecentPace = { pages: 0, ms: 0 };

/**
 * The pace of the pages that ended last, at most {@link PACE_PAGES}. Only time in which a page of the book
 * was rendered counts: not that in which it was paused, had ended, or waited for a round.
 * `renderingSince` is of the page that renders longest now; null where none does.
 */
export function paceOf(
  ends: readonly RenderedSpan[],
  renderingSince: number | null,
  nowMs: number,
): RecentPace {
  const spans = ends.filter(({ startedAt, endedAt }) => startedAt < endedAt);
  if (spans.length === 0) return UNKNOWN;
  // Pages begin long before their turn comes. Of so many, the ends tell more; the first is the beginning.
  const isFull = spans.length >= PACE_PAGES;
  const from = isFull ? Math.min(...spans.map(({ endedAt }) => endedAt)) : -Infinity;
  const now = renderingSince === null ? [] : [{ startedAt: renderingSince, endedAt: nowMs }];
  const ms = coveredMs([...spans, ...now], from);
  return ms > 0 ? { pages: isFull ? spans.length - 1 : spans.length, ms } : UNKNOWN;
}

/** How much time after an instant lies in any of the spans. */
function coveredMs(spans: readonly RenderedSpan[], from: number): number {
  let sum = 0;
  let covered = from;
  for (const { startedAt, endedAt } of [...spans].sort((a, b) => a.startedAt - b.startedAt)) {
    sum += Math.max(0, endedAt - Math.max(startedAt, covered));
    covered = Math.max(covered, endedAt);
  }
  return sum;
}
