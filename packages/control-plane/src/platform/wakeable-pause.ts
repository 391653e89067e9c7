import type { Clock } from "@holdfast/runtime";

/**
 * A pause that can be ended early, over and over. One abort controller a pause, rather than
 * `AbortSignal.any` with a long-lived signal, whose list of followers grows with every call in Node 20.
 */
export interface WakeablePause {
  /** Sleeps; resolves to `woken` when `wake` came during it, or since the last pause. */
  pause(ms: number): Promise<"slept" | "woken">;
  /** Ends the pause that is on, or the next one before it begins. */
  wake(): void;
  /** Forgets wakes that came since the last pause: what they were for is about to be looked at. */
  forget(): void;
}

/** One for all: making an error for each wake costs more than the wake. */
const WOKEN = new Error("woken");

/** Makes a {@link WakeablePause}. */
export function createWakeablePause(clock: Clock): WakeablePause {
  let waker = new AbortController();
  return {
    async pause(ms) {
      const { signal } = waker;
      try {
        await clock.sleep(ms, signal);
      } catch {
        // Woken: looked at below.
      }
      if (!signal.aborted) return "slept";
      waker = new AbortController();
      return "woken";
    },
    wake: () => waker.abort(WOKEN),
    forget() {
      if (waker.signal.aborted) waker = new AbortController();
    },
  };
}
