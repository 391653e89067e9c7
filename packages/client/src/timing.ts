/** Time as this library uses it; given to it in tests. */
export interface ClientClock {
  /** Milliseconds from an arbitrary start, never going back. */
  elapsed(): number;
  /** Resolves after `ms`; rejects with the signal's reason when that is aborted first. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

/** The platform's own time. The only place of this package that asks for it. */
export const platformClock: ClientClock = {
  elapsed: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason as Error);
        return;
      }
      const onAbort = (): void => {
        clearTimeout(timer);
        reject(signal.reason as Error);
      };
      const timer = setTimeout(() => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      }, ms);
      signal.addEventListener("abort", onAbort, { once: true });
    }),
};

/** How long to wait before look number `attempt` (from 1) when the ones before brought nothing. */
export function growingPause(attempt: number, firstMs: number, maxMs: number): number {
  const doublings = Math.min(Math.max(attempt, 1) - 1, 30);
  return Math.min(firstMs * 2 ** doublings, maxMs);
}
