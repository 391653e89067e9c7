import type { Abortable, Clock } from "@holdfast/runtime";

/** A pause of a loop that can be ended early, over and over. For one loop. */
export interface WakeablePause {
  /** Resolves after `ms`, when woken (also by a wake since the last pause), or when aborted. */
  pause(ms: number, signal: Abortable): Promise<void>;
  /** Ends the pause that is on, or the next one before it begins. */
  wake(): void;
  /** Forgets a wake that came before: what it was for is about to be looked at. */
  forget(): void;
}

/** One for all: an error with its stack for each wake costs more than the wake. */
const WOKEN = new Error("woken");

/** Makes a {@link WakeablePause}. */
export function createWakeablePause(clock: Clock): WakeablePause {
  let waker = new AbortController();
  return {
    async pause(ms, signal) {
      const own = waker;
      const onAbort = (): void => own.abort(WOKEN);
      signal.addEventListener("abort", onAbort, { once: true });
      try {
        if (!signal.aborted) await clock.sleep(ms, own.signal);
      } catch {
        // Woken or aborted: either way the caller goes on.
      } finally {
        signal.removeEventListener("abort", onAbort);
      }
      if (own.signal.aborted) waker = new AbortController();
    },
    wake: () => waker.abort(WOKEN),
    forget() {
      if (waker.signal.aborted) waker = new AbortController();
    },
  };
}
