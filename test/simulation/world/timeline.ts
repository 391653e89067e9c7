/**
 * Simulated time: a list of instants at which something happens, and the only thing that moves it
 * on. Nothing is done in parallel: an event runs, then everything that follows from it, then the
 * next event. An event that waits for the outside world (a statement on the real Postgres) is waited
 * for before anything else runs, so how long that really takes changes nothing.
 *
 * T1  Two events of one instant run in the order in which they were asked for.
 * T2  Before an event runs, all code that the one before has woken has come to rest.
 */

/** What is to happen, and how to call it off. */
export interface Scheduled {
  cancel(): void;
}

/** See the header. Instants are milliseconds since the start of the simulation. */
export interface Timeline {
  now(): number;
  /** Runs something so many milliseconds from now. */
  after(ms: number, run: () => void | Promise<void>): Scheduled;
  /** Runs the next event, if there is one until `limit`; false when there is none. */
  step(limit: number): Promise<boolean>;
  /** Events that wait, called-off ones left out. */
  waiting(): number;
  /** Events that have run. */
  steps(): number;
}

interface Entry {
  readonly at: number;
  readonly order: number;
  readonly run: () => void | Promise<void>;
  isOver: boolean;
}

/** How often the platform's own queues are let run empty: code may go around through them. */
const REST_TURNS = 3;
/** An event that waits for the outside longer than this hangs: its wait needs an event itself. */
const HANG_MS = 20_000;

/** Makes a timeline at 0. */
export function createTimeline(): Timeline {
  const heap: Entry[] = [];
  let nowMs = 0;
  let order = 0;
  let steps = 0;
  let waiting = 0;

  const before = (a: Entry, b: Entry): boolean =>
    a.at < b.at || (a.at === b.at && a.order < b.order);
  const push = (entry: Entry): void => {
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as Entry;
      if (!before(entry, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = entry;
  };
  const pop = (): Entry | undefined => {
    const [first] = heap;
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      const right = heap[child + 1];
      if (right !== undefined && before(right, heap[child] as Entry)) child += 1;
      if (!before(heap[child] as Entry, last)) break;
      heap[at] = heap[child] as Entry;
      at = child;
    }
    heap[at] = last;
    return first;
  };

  let isStepping = false;
  const runNext = async (limit: number): Promise<boolean> => {
    for (;;) {
      const [next] = heap;
      if (next === undefined || next.at > limit) {
        nowMs = Math.max(nowMs, limit);
        return false;
      }
      pop();
      if (next.isOver) continue;
      next.isOver = true;
      waiting -= 1;
      nowMs = Math.max(nowMs, next.at);
      steps += 1;
      const done = next.run();
      if (done !== undefined) await notForEver(done);
      return true;
    }
  };

  return {
    now: () => nowMs,
    after(ms, run) {
      const entry = { at: nowMs + Math.max(0, ms), order: (order += 1), run, isOver: false };
      push(entry);
      waiting += 1;
      return {
        cancel() {
          if (entry.isOver) return;
          entry.isOver = true;
          waiting -= 1;
        },
      };
    },
    async step(limit) {
      if (isStepping)
        throw new Error(
          "time goes one step at a time: two at once would run events beside each other",
        );
      isStepping = true;
      try {
        await rest();
        return await runNext(limit);
      } finally {
        isStepping = false;
      }
    },
    waiting: () => waiting,
    steps: () => steps,
  };
}

/** Resolves when woken code has come to rest: promises, ticks and immediates have run. */
async function rest(): Promise<void> {
  for (let turn = 0; turn < REST_TURNS; turn += 1) {
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

async function notForEver(done: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error("an event of the simulation waits for ever")),
      HANG_MS,
    );
  });
  try {
    await Promise.race([done, hang]);
  } finally {
    clearTimeout(timer);
  }
}
