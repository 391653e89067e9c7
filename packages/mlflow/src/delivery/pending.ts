import type { Abortable, Clock } from "@holdfast/runtime";

/** How many records are on the disk and not delivered, and who waits for there to be none. */
export interface Pending {
  add(records: number): void;
  count(): number;
  /** Whether there were none before the time was up, or the signal aborted. */
  none(clock: Clock, timeoutMs: number, signal: Abortable | undefined): Promise<boolean>;
}

/** Makes a {@link Pending} of none. */
export function createPending(): Pending {
  let count = 0;
  const waiting = new Set<() => void>();
  return {
    add(records) {
      count += records;
      if (count <= 0) for (const wake of waiting) wake();
    },
    count: () => Math.max(0, count),
    async none(clock, timeoutMs, signal) {
      if (count <= 0) return true;
      const over = new AbortController();
      const end = (): void => over.abort(new Error("over"));
      waiting.add(end);
      signal?.addEventListener("abort", end, { once: true });
      try {
        if (signal?.aborted !== true) await clock.sleep(timeoutMs, over.signal);
      } catch {
        // All is delivered, or the caller waits no more.
      } finally {
        waiting.delete(end);
        signal?.removeEventListener("abort", end);
      }
      return count <= 0;
    },
  };
}
