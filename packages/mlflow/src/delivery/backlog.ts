/**
 * What is still to be delivered: read from the journal as there is room, and let go of when it is done.
 *
 * B1  What is read and waits is bounded in bytes; the rest stays on the disk.
 * B2  A file of the journal is removed when all its lines are done and that is on the disk.
 */
import type { Journal } from "../journal/journal.ts";
import type { Progress } from "../journal/progress.ts";
import type { Position } from "../journal/record.ts";
import type { RunQueues } from "./run-queues.ts";

/** Fills the queues. */
export interface Backlog {
  /** Reads on until enough waits or there is no more now; for all who ask meanwhile at once. */
  fill(): Promise<void>;
  /** There is more to read. */
  noteNews(): void;
  markDone(positions: readonly Position[]): void;
}

/** What it needs. */
export interface BacklogOptions {
  readonly journal: Journal;
  readonly progress: Progress;
  readonly queues: RunQueues;
  readonly bufferBytes: number;
  /** Called when records are done. */
  readonly onDone: (records: number) => void;
  /** A line of which nothing can be delivered. */
  readonly onDamage: (position: Position) => void;
}

/** Makes a {@link Backlog}. */
export function createBacklog(options: BacklogOptions): Backlog {
  const { journal, progress, queues, bufferBytes } = options;
  const finished = new Map<number, number>();
  let reading: Promise<void> | undefined;
  let hasNews = false;

  async function fill(): Promise<void> {
    try {
      do {
        hasNews = false;
        await readOn();
        await removeFinished();
      } while (hasNews && queues.sizeBytes < bufferBytes);
    } finally {
      // In the same turn as the last look for news: none is missed between the two.
      reading = undefined;
    }
  }
  /** B1 */
  async function readOn(): Promise<void> {
    while (queues.sizeBytes < bufferBytes) {
      const lines = await journal.read();
      for (const { segment, lines: count } of journal.takeFinished()) finished.set(segment, count);
      if (lines.length === 0) return;
      for (const { position, record, sizeBytes } of lines) {
        if (progress.isDone(position)) continue;
        if (record !== null) queues.add({ position, record, sizeBytes });
        else {
          options.onDamage(position);
          markDone([position]);
        }
      }
    }
  }
  /** B2 */
  async function removeFinished(): Promise<void> {
    for (const [segment, lines] of finished) {
      if (progress.doneCount(segment) < lines) continue;
      finished.delete(segment);
      progress.drop(segment);
      await progress.save({ isSynced: true });
      await journal.remove(segment);
    }
  }
  function markDone(positions: readonly Position[]): void {
    for (const { segment, line } of positions) progress.markDone(segment, [line, line]);
    options.onDone(positions.length);
  }
  return {
    fill: () => (reading ??= fill()),
    noteNews() {
      hasNews = true;
    },
    markDone,
  };
}
