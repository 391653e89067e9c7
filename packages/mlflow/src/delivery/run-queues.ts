/** Records that were read and wait, by run: each run in its order, many runs side by side. */
import type { Item } from "./batch.ts";

/** The kinds of steps, told apart because one can work while another does not. */
export type StepKind = "start" | "data" | "artifact" | "end";

/** What waits for one run. */
export interface RunQueue {
  readonly key: string;
  items: Item[];
  /** Somebody delivers it. */
  isBusy: boolean;
  /** Not before this instant of the clock's `elapsed`. */
  retryAt: number;
  /** Failures of its next step in a row, and how many steps of that kind had worked at the first one. */
  failures:
    { readonly kind: StepKind; readonly count: number; readonly worked: number } | undefined;
}

/** The queues of all runs that something waits for. */
export interface RunQueues {
  add(item: Item): void;
  /** A queue that may be delivered now, the oldest first; it is busy until {@link RunQueues.giveBack}. */
  take(now: number): RunQueue | undefined;
  /** With so many items of its beginning done. */
  giveBack(queue: RunQueue, done: number): void;
  has(key: string): boolean;
  /** The first instant at which a queue that is not busy may be delivered; undefined when there is none. */
  nextRetryAt(): number | undefined;
  /** All may be tried at once. */
  forgetPauses(): void;
  /** Bytes of what waits. */
  readonly sizeBytes: number;
}

/** Makes empty queues. */
export function createRunQueues(): RunQueues {
  const queues = new Map<string, RunQueue>();
  let sizeBytes = 0;
  return {
    add(item) {
      const { key } = item.record;
      sizeBytes += item.sizeBytes;
      const queue = queues.get(key);
      if (queue !== undefined) queue.items.push(item);
      else {
        const fresh = { key, items: [item], isBusy: false, retryAt: 0, failures: undefined };
        queues.set(key, fresh);
      }
    },
    take(now) {
      for (const queue of queues.values()) {
        if (queue.isBusy || queue.retryAt > now) continue;
        queue.isBusy = true;
        return queue;
      }
      return undefined;
    },
    giveBack(queue, done) {
      for (const { sizeBytes: bytes } of queue.items.slice(0, done)) sizeBytes -= bytes;
      queue.items = queue.items.slice(done);
      queue.isBusy = false;
      if (queue.items.length === 0) queues.delete(queue.key);
    },
    has: (key) => queues.has(key),
    nextRetryAt() {
      let first: number | undefined;
      for (const { isBusy, retryAt } of queues.values()) {
        if (!isBusy && (first === undefined || retryAt < first)) first = retryAt;
      }
      return first;
    },
    forgetPauses() {
      for (const queue of queues.values()) queue.retryAt = 0;
    },
    get sizeBytes() {
      return sizeBytes;
    },
  };
}
