import type { Clock } from "@holdfast/runtime";

const MS_PER_SECOND = 1_000;

/** A limit on how long something may take. */
export interface TimeLimit {
  /** Aborted, with the limit in words, once the time is over. */
  readonly signal: AbortSignal;
  /** It is done: the time runs no more. */
  end(): Promise<void>;
}

/** Begins to count. */
export function timeLimit(clock: Clock, ms: number): TimeLimit {
  const limit = new AbortController();
  const done = new AbortController();
  const timer = clock.sleep(ms, done.signal).then(
    () => limit.abort(new Error(`it took longer than ${ms / MS_PER_SECOND} s`)),
    () => undefined,
  );
  return {
    signal: limit.signal,
    async end() {
      done.abort();
      await timer;
    },
  };
}
