import type { Abortable, Clock } from "@holdfast/runtime";

/** Wakes all who pause. Who took a ticket before a wake does not begin to pause after it. */
export interface Wakeup {
  /** To be taken before looking whether there is something to do. */
  ticket(): number;
  /** Resolves after `ms`, at a wake since the ticket, or when aborted. */
  pause(ticket: number, ms: number, signal: Abortable): Promise<void>;
  wakeAll(): void;
}

const WOKEN = new Error("woken");

/** Makes a {@link Wakeup}. */
export function createWakeup(clock: Clock): Wakeup {
  let count = 0;
  const pauses = new Set<AbortController>();
  return {
    ticket: () => count,
    async pause(ticket, ms, signal) {
      if (ticket !== count || signal.aborted) return;
      const own = new AbortController();
      const onAbort = (): void => own.abort(WOKEN);
      pauses.add(own);
      signal.addEventListener("abort", onAbort, { once: true });
      try {
        await clock.sleep(ms, own.signal);
      } catch {
        // Woken or aborted: either way the caller looks again.
      } finally {
        pauses.delete(own);
        signal.removeEventListener("abort", onAbort);
      }
    },
    wakeAll() {
      count += 1;
      for (const pause of pauses) pause.abort(WOKEN);
    },
  };
}
