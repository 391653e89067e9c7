/**
 * Between something that tells events when they happen and a client that reads at its own pace: a
 * queue of bounded length. When it overflows it ends; the client comes back with `Last-Event-ID`
 * and is given what it missed from the outbox.
 */
export interface EventQueue<T> {
  /** False when the queue was full (it has ended then) or had ended before. */
  push(item: T): boolean;
  /** No more items; what is queued is still read. */
  end(): void;
  /** Reads until the queue ends or the signal is aborted. For one reader. */
  read(signal: AbortSignal): AsyncGenerator<T, void, undefined>;
}

/** Makes a queue that holds at most `maxQueued` items. */
export function createEventQueue<T>(maxQueued: number): EventQueue<T> {
  const items: T[] = [];
  let hasEnded = false;
  let wake: () => void = () => undefined;
  return {
    push(item) {
      if (hasEnded) return false;
      if (items.length >= maxQueued) {
        hasEnded = true;
        wake();
        return false;
      }
      items.push(item);
      wake();
      return true;
    },
    end() {
      hasEnded = true;
      wake();
    },
    async *read(signal) {
      const onAbort = (): void => wake();
      signal.addEventListener("abort", onAbort, { once: true });
      try {
        while (!signal.aborted) {
          const item = items.shift();
          if (item !== undefined) {
            yield item;
            continue;
          }
          if (hasEnded) return;
          await new Promise<void>((resolve) => (wake = resolve));
        }
      } finally {
        hasEnded = true;
        signal.removeEventListener("abort", onAbort);
      }
    },
  };
}
