import type { Clock } from "@holdfast/runtime";

/** Watches that bytes come. */
export interface StallWatch {
  /** Something came. Cheap: once a chunk. */
  note(): void;
  stop(): void;
}

/**
 * Calls `onStall` once, when nothing was noted for `limitMs`. While `isExcused` says so the silence is
 * of our own making (a slow disk), and does not count.
 */
export function watchStall(
  clock: Clock,
  limitMs: number,
  isExcused: () => boolean,
  onStall: () => void,
): StallWatch {
  const ended = new AbortController();
  let last = clock.elapsed();
  const watch = async (): Promise<void> => {
    for (;;) {
      if (isExcused()) last = clock.elapsed();
      const left = limitMs - (clock.elapsed() - last);
      if (left <= 0) break;
      await clock.sleep(left, ended.signal);
    }
    onStall();
  };
  // Only the end of the watch rejects.
  watch().catch(() => undefined);
  return {
    note: () => {
      last = clock.elapsed();
    },
    stop: () => ended.abort(),
  };
}
