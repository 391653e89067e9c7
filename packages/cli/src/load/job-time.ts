/** The end of a job's time: its own limit, or the wish of whoever runs all of them. */
import type { Clock } from "@holdfast/runtime";

/** One job's time. */
export interface JobTime {
  /** Aborted when it is over, one way or the other. */
  readonly signal: AbortSignal;
  /** Why it is over; null while it is not. */
  over(): "timed_out" | "cancelled" | null;
  /** Ends the watch over it. */
  release(): void;
}

/** Begins a job's time. */
export function startJobTime(timeoutMs: number, cancel: AbortSignal, clock: Clock): JobTime {
  const ended = new AbortController();
  const released = new AbortController();
  let why: "timed_out" | "cancelled" | null = null;
  const end = (reason: "timed_out" | "cancelled"): void => {
    if (why !== null || released.signal.aborted) return;
    why = reason;
    ended.abort(new Error(reason));
  };
  const onCancel = (): void => end("cancelled");
  // Listened to by hand: `AbortSignal.any` of a signal that lives for the whole run keeps each of its
  // jobs in memory until then (Node 20).
  cancel.addEventListener("abort", onCancel, { once: true });
  if (cancel.aborted) end("cancelled");
  clock.sleep(timeoutMs, released.signal).then(
    () => end("timed_out"),
    () => undefined, // Released.
  );
  return {
    signal: ended.signal,
    over: () => why,
    release() {
      cancel.removeEventListener("abort", onCancel);
      released.abort();
    },
  };
}
