import { HoldfastError } from "@holdfast/contract";
import { createPace, invariant, type Clock, type PaceLimits } from "@holdfast/runtime";

/** How items that arrive one by one are written together. */
export interface GroupCommitOptions<T, R> {
  /**
   * Writes a batch and returns one result per item, in order. An `Error` in the list fails that
   * item alone; a rejection fails the whole batch (or see `retrySingly`).
   */
  readonly flush: (items: readonly T[]) => Promise<readonly (R | Error)[]>;
  /** Items in one flush at most. */
  readonly maxBatch: number;
  /** Items waiting for a flush at most; over it `add` rejects with `overloaded`. */
  readonly maxWaiting: number;
  /** Flushes running at the same time; 2 keeps the database busy while one commit is on its way. */
  readonly maxConcurrent?: number;
  /** After a batch failed, flush each of its items by itself, so that one bad item fails alone. */
  readonly retrySingly?: boolean;
  /**
   * Waits this long before a flush that would not be full. 0 (the default) adds no delay: what
   * comes while flushes run makes the next batch. Above 0 it must be given a clock.
   */
  readonly lingerMs?: number;
  /**
   * Least time from the start of a flush to the start of the next that would not be full: under load
   * more come together, and the first after a quiet time goes at once. It needs a clock.
   */
  readonly rest?: PaceLimits;
  readonly clock?: Clock;
  /** Told of each flush, for metrics. */
  readonly onFlush?: (batchSize: number) => void;
}

/** Writes of many callers, committed in groups. */
export interface GroupCommit<T, R> {
  /** Resolves with the item's own result once its batch is flushed. */
  add(item: T): Promise<R>;
  /** How many items wait for a flush. */
  waiting(): number;
  /** Resolves when nothing waits and nothing is being flushed. Never rejects. */
  drain(): Promise<void>;
}

interface Waiting<T, R> {
  readonly item: T;
  readonly resolve: (result: R) => void;
  readonly reject: (error: unknown) => void;
}

const DEFAULT_CONCURRENT = 2;

/**
 * Makes a group commit. Invariants: every item is in exactly one batch (two with `retrySingly`),
 * batches keep the order of arrival, and every `add` settles.
 */
export function createGroupCommit<T, R>(options: GroupCommitOptions<T, R>): GroupCommit<T, R> {
  const { maxBatch, maxWaiting, lingerMs = 0, rest, clock } = options;
  const maxConcurrent = options.maxConcurrent ?? DEFAULT_CONCURRENT;
  invariant(
    (lingerMs === 0 && rest === undefined) || clock !== undefined,
    "a group commit that waits needs a clock",
  );
  const queue: Waiting<T, R>[] = [];
  const drained = new Set<() => void>();
  let running = 0;
  let isScheduled = false;
  let startedAt = -Infinity;
  const pace = rest === undefined ? undefined : createPace(rest);

  const waitMs = (): number => {
    if (clock === undefined || queue.length >= maxBatch) return 0;
    const restMs = pace === undefined ? 0 : startedAt + pace.restMs() - clock.elapsed();
    return Math.max(lingerMs, restMs);
  };

  const schedule = (): void => {
    if (isScheduled || running >= maxConcurrent || queue.length === 0) return;
    isScheduled = true;
    // A turn later, so that callers of the same turn share a batch.
    const ms = waitMs();
    const ready = ms > 0 ? clock?.sleep(ms) : Promise.resolve();
    void Promise.resolve(ready).then(start, start);
  };

  const start = (): void => {
    isScheduled = false;
    const batch = queue.splice(0, maxBatch);
    if (batch.length === 0) return;
    running += 1;
    if (clock !== undefined) startedAt = clock.elapsed();
    pace?.note(batch.length);
    void settle(batch).finally(() => {
      running -= 1;
      schedule();
      if (running === 0 && queue.length === 0) {
        for (const done of drained) done();
        drained.clear();
      }
    });
    schedule();
  };

  const settle = async (batch: readonly Waiting<T, R>[]): Promise<void> => {
    try {
      await flushBatch(batch);
    } catch (error) {
      if (options.retrySingly !== true || batch.length === 1) {
        for (const waiting of batch) waiting.reject(error);
        return;
      }
      for (const waiting of batch) await flushBatch([waiting]).catch(waiting.reject);
    }
  };

  const flushBatch = async (batch: readonly Waiting<T, R>[]): Promise<void> => {
    options.onFlush?.(batch.length);
    const results = await options.flush(batch.map((waiting) => waiting.item));
    invariant(results.length === batch.length, "a flush gives one result per item");
    for (const [index, waiting] of batch.entries()) {
      const result = results[index];
      if (result instanceof Error) waiting.reject(result);
      else waiting.resolve(result as R);
    }
  };

  return {
    async add(item) {
      if (queue.length >= maxWaiting) {
        throw new HoldfastError("overloaded", "too many writes wait for the database", {
          retryAfterSeconds: 1,
          details: { waiting: queue.length },
        });
      }
      return await new Promise<R>((resolve, reject) => {
        queue.push({ item, resolve, reject });
        schedule();
      });
    },
    waiting: () => queue.length,
    async drain() {
      if (running === 0 && queue.length === 0) return;
      await new Promise<void>((resolve) => drained.add(resolve));
    },
  };
}
