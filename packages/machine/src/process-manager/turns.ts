/** Lets things with the same key be done one after the other. */
export interface Turns {
  /** Runs `fn` once all that came before under the key have ended; an abort ends the waiting at once. */
  take<T>(key: string, signal: AbortSignal, fn: () => Promise<T>): Promise<T>;
}

/** Makes an empty queue. */
export function createTurns(): Turns {
  const last = new Map<string, Promise<unknown>>();
  return {
    async take(key, signal, fn) {
      const before = last.get(key) ?? Promise.resolve();
      const mine = waitOrAbort(before, signal).then(fn);
      // Who gives up waiting leaves the one before him in his place.
      const settled = Promise.allSettled([before, mine]);
      last.set(key, settled);
      try {
        return await mine;
      } finally {
        if (last.get(key) === settled) void settled.then(() => forget(last, key, settled));
      }
    },
  };
}

function forget(last: Map<string, Promise<unknown>>, key: string, settled: Promise<unknown>): void {
  if (last.get(key) === settled) last.delete(key);
}

async function waitOrAbort(before: Promise<unknown>, signal: AbortSignal): Promise<void> {
  const over = new AbortController();
  try {
    await Promise.race([
      before,
      new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener("abort", () => resolve(), { once: true, signal: over.signal });
      }),
    ]);
  } finally {
    over.abort();
  }
  signal.throwIfAborted();
}
