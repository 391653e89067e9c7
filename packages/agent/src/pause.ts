import type { Abortable, Clock } from "@holdfast/runtime";

/** Sleeps; false instead of a rejection when the signal cut it short. */
export async function slept(clock: Clock, ms: number, signal: Abortable): Promise<boolean> {
  try {
    await clock.sleep(ms, signal);
    return true;
  } catch (error) {
    if (signal.aborted) return false;
    throw error;
  }
}

/** Reason of aborts that only end a wait: made once, for a new error with its stack costs a lot. */
export const WAIT_OVER = new Error("the wait is over");

/** Something that waits for a while unless it is woken earlier. */
export interface Waker {
  /** Ends the wait under way, or makes the next one return at once. */
  wake(): void;
  /** Resolves after `ms`, when woken, or when the signal is aborted. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
}

/** Makes a {@link Waker}. One wait at a time. */
export function createWaker(clock: Clock): Waker {
  let isWoken = false;
  let end: (() => void) | undefined;
  return {
    wake: () => {
      isWoken = true;
      end?.();
    },
    wait: async (ms, signal) => {
      if (!isWoken && !signal.aborted && ms > 0) {
        const cut = new AbortController();
        const onAbort = (): void => cut.abort(WAIT_OVER);
        end = onAbort;
        signal.addEventListener("abort", onAbort, { once: true });
        if (Number.isFinite(ms)) await slept(clock, Math.min(ms, MAX_TIMER_MS), cut.signal);
        else await aborted(cut.signal);
        signal.removeEventListener("abort", onAbort);
        end = undefined;
      }
      isWoken = false;
    },
  };
}

/** Longest time a platform timer can count. */
const MAX_TIMER_MS = 2_147_483_647;

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** A signal that is aborted with another one, if `isMeant` says so at that moment. */
export function followIf(signal: AbortSignal, isMeant: () => boolean): AbortSignal {
  const own = new AbortController();
  const onAbort = (): void => {
    if (isMeant()) own.abort(signal.reason);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  return own.signal;
}
