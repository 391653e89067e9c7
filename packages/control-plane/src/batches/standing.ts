/** How far a batch is: whether it is over, how fast it goes, how long it will take. Pure. */
import type { BatchStatus, BatchView } from "@holdfast/contract";
import { toInstantOrNull } from "../access/pages.ts";
import { isOver, type Batch, type PageCounts } from "./model.ts";
import type { RecentPace } from "./pace.ts";

/** What a batch with these pages has come to; null while pages are to be rendered. */
export function endOf(counts: PageCounts): Exclude<BatchStatus, "running" | "paused"> | null {
  if (counts.pending > 0 || counts.rendering > 0) return null;
  if (counts.attention > 0) return "attention";
  // Pages that somebody cancelled are wanted so; what else there was is done.
  return counts.done === 0 ? "cancelled" : "completed";
}

/** Pages that wait for their next round. Instants are epoch ms, of the first round and of the last. */
export interface WaitingPages {
  readonly pages: number;
  readonly firstAt: number;
  readonly lastAt: number;
}

/** What is read of a book's pages to tell how far it is. */
export interface BookStanding {
  /** By the database's clock, as the rest. */
  readonly nowMs: number;
  readonly pace: RecentPace;
  readonly waits: WaitingPages | null;
}

const MS_PER_MINUTE = 60_000;
const MS_PER_SECOND = 1_000;

/** Whether pages of a batch are given out. */
export function isGoing({ status, endedAt }: Pick<Batch, "status" | "endedAt">): boolean {
  return status === "running" && !isOver({ endedAt });
}

/** What {@link progressOf} looks at. */
export type ProgressFacts = Pick<Batch, "counts" | "pageCount" | "status" | "endedAt" | "parallel">;

/**
 * Progress by what the book's last pages took, which is what it is rendered with now: a window says only
 * how many may run, not how many machines there are. Without a standing nothing is known of its pace.
 */
export function progressOf(
  batch: ProgressFacts,
  standing: BookStanding | undefined,
): BatchView["progress"] {
  const { counts } = batch;
  const ended = counts.done + counts.attention + counts.cancelled;
  const left = batch.pageCount - ended;
  // Down: 100 is for what is over.
  const percent = Math.floor((ended / Math.max(1, batch.pageCount)) * 1_000) / 10;
  if (standing === undefined || !isGoing(batch) || left === 0) {
    return { percent, pagesPerMinute: null, secondsLeft: null, waitingPages: 0, nextRoundAt: null };
  }
  const { pace, waits } = standing;
  const pageMs = pace.pages > 0 && pace.ms > 0 ? pace.ms / pace.pages : null;
  return {
    percent,
    pagesPerMinute: pageMs === null ? null : Math.round((MS_PER_MINUTE / pageMs) * 100) / 100,
    secondsLeft:
      pageMs === null ? null : Math.ceil(leftMs(batch, standing, left, pageMs) / MS_PER_SECOND),
    waitingPages: waits?.pages ?? 0,
    nextRoundAt: toInstantOrNull(waits?.firstAt ?? null),
  };
}

/** At least so long, if no further round fails. */
function leftMs(
  { counts, parallel }: ProgressFacts,
  { nowMs, waits }: BookStanding,
  left: number,
  pageMs: number,
): number {
  if (waits === null) return left * pageMs;
  // In order, those behind a page that waits wait as well.
  const isIdle = counts.rendering === 0 && (!parallel || waits.pages >= counts.pending);
  const idleMs = isIdle ? Math.max(0, waits.firstAt - nowMs) : 0;
  return Math.max(idleMs + left * pageMs, waits.lastAt - nowMs + pageMs);
}
