/** How far a batch is: whether it is over, how fast it goes, how long it will take. Pure. */
import type { BatchStatus, BatchView } from "@holdfast/contract";
import { isOver, type Batch, type PageCounts } from "./model.ts";

/** What a batch with these pages has come to; null while pages are to be rendered. */
export function endOf(counts: PageCounts): Exclude<BatchStatus, "running" | "paused"> | null {
  if (counts.pending > 0 || counts.rendering > 0) return null;
  if (counts.attention > 0) return "attention";
  // Pages that somebody cancelled are wanted so; what else there was is done.
  return counts.done === 0 ? "cancelled" : "completed";
}

/** How many pages ended last, in what time. */
export interface RecentPace {
  readonly pages: number;
  readonly ms: number;
}

/** Pages ended last that the pace is taken from: fewer would jump, more would tell of yesterday. */
export const PACE_PAGES = 100;
const MS_PER_MINUTE = 60_000;
const MS_PER_SECOND = 1_000;

/**
 * Progress by what the book's last pages took, which is what it is rendered with now: a window says only
 * how many may run, not how many machines there are.
 */
export function progressOf(
  batch: Pick<Batch, "counts" | "pageCount" | "status" | "endedAt">,
  pace: RecentPace,
): BatchView["progress"] {
  const { counts } = batch;
  const ended = counts.done + counts.attention + counts.cancelled;
  const left = batch.pageCount - ended;
  // Down: 100 is for what is over.
  const percent = Math.floor((ended / Math.max(1, batch.pageCount)) * 1_000) / 10;
  const isKnown = pace.pages > 0 && pace.ms > 0;
  const perMs = isKnown ? pace.pages / pace.ms : null;
  const isGoing = batch.status === "running" && !isOver(batch) && left > 0;
  return {
    percent,
    pagesPerMinute:
      perMs === null || !isGoing ? null : Math.round(perMs * MS_PER_MINUTE * 100) / 100,
    secondsLeft: perMs === null || !isGoing ? null : Math.ceil(left / perMs / MS_PER_SECOND),
  };
}
