/**
 * The part of the platform's `AbortSignal` that waiting code needs, so that pure packages can take
 * one without naming the platform. A real `AbortSignal` fits.
 */
export interface Abortable {
  readonly aborted: boolean;
  readonly reason?: unknown;
  addEventListener(type: "abort", listener: () => void, options?: { once?: boolean }): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/** Time, injected: nothing outside `runtime/system` asks the platform for it. */
export interface Clock {
  /** Wall-clock time, epoch milliseconds. May jump: never use it for durations. */
  now(): number;
  /** Monotonic milliseconds from an arbitrary start, with fractions: for durations and deadlines. */
  elapsed(): number;
  /** Resolves after `ms`; rejects with the signal's reason when it is aborted first. */
  sleep(ms: number, signal?: Abortable): Promise<void>;
}

/** The reason of an aborted signal as something that can be thrown. */
export function abortReason(signal: Abortable): unknown {
  return signal.reason ?? new Error("aborted");
}
