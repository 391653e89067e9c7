import { PythonError } from "./python-text.ts";
import type { PostedGraph } from "./validation.ts";

/** A queued prompt, as ComfyUI's 5-tuple shows it. Extra data is whatever was posted as such. */
export type QueueItem = readonly [
  number: number,
  promptId: string,
  graph: PostedGraph,
  extraData: unknown,
  outputs: readonly string[],
];

/** ComfyUI's heap queue (execution.py PromptQueue, 0.3.64): `pending` is the heap's own array. */
export class PromptQueue {
  #pending: QueueItem[] = [];
  readonly #running = new Map<number, QueueItem>();
  #counter = 0;

  get pending(): readonly QueueItem[] {
    return this.#pending;
  }

  get running(): readonly QueueItem[] {
    return [...this.#running.values()];
  }

  /** Pending and running together. */
  get remaining(): number {
    return this.#pending.length + this.#running.size;
  }

  /**
   * Adds a prompt. Two with the same number and the same id cannot be put in order: the second is
   * added all the same, and a {@link PythonError} is thrown (F27).
   */
  put(item: QueueItem): void {
    this.#pending.push(item);
    this.#siftDown(0, this.#pending.length - 1, compareOrThrow);
  }

  /** Takes the first one; it counts as running until {@link done}. */
  take(): { readonly ticket: number; readonly item: QueueItem } | null {
    const last = this.#pending.pop();
    if (last === undefined) return null;
    const first = this.#pending[0];
    if (first !== undefined) {
      this.#pending[0] = last;
      this.#siftUp(0);
    }
    const item = first ?? last;
    const ticket = this.#counter;
    this.#counter += 1;
    this.#running.set(ticket, item);
    return { ticket, item };
  }

  done(ticket: number): void {
    this.#running.delete(ticket);
  }

  clear(): void {
    this.#pending = [];
  }

  /** Removes one pending prompt with this id; false when there is none. */
  remove(promptId: string): boolean {
    const index = this.#pending.findIndex((item) => item[1] === promptId);
    if (index < 0) return false;
    const rest = this.#pending.filter((_, position) => position !== index);
    this.#pending = rest;
    for (let i = Math.floor(rest.length / 2) - 1; i >= 0; i -= 1) this.#siftUp(i);
    return true;
  }

  #siftDown(start: number, position: number, compare: typeof compareItems): void {
    const heap = this.#pending;
    let at = position;
    while (at > start) {
      const parentAt = (at - 1) >> 1;
      const item = heap[at];
      const parent = heap[parentAt];
      if (item === undefined || parent === undefined || compare(item, parent) >= 0) return;
      heap[at] = parent;
      heap[parentAt] = item;
      at = parentAt;
    }
  }

  #siftUp(start: number): void {
    const heap = this.#pending;
    const item = heap[start];
    if (item === undefined) return;
    let at = start;
    let child = 2 * at + 1;
    while (child < heap.length) {
      const left = heap[child];
      const right = heap[child + 1];
      if (left === undefined) break;
      const goesRight = right !== undefined && compareItems(left, right) >= 0;
      heap[at] = goesRight ? right : left;
      at = goesRight ? child + 1 : child;
      child = 2 * at + 1;
    }
    heap[at] = item;
    this.#siftDown(start, at, compareItems);
  }
}

function compareItems(one: QueueItem, two: QueueItem): number {
  if (one[0] !== two[0]) return one[0] - two[0];
  return one[1] === two[1] ? 0 : one[1] < two[1] ? -1 : 1;
}

function compareOrThrow(one: QueueItem, two: QueueItem): number {
  const order = compareItems(one, two);
  if (order === 0) {
    throw new PythonError("TypeError", "'<' not supported between instances of 'dict' and 'dict'");
  }
  return order;
}
