/** Downloads beside each other, never more than a limit. */

import { setMaxListeners } from "node:events";
import { invariant } from "@holdfast/runtime";

/** Something to download. */
export interface PoolJob<T> {
  readonly key: string;
  /** Null while nobody knows. */
  readonly sizeBytes: number | null;
  /** Aborted when the pool is closed. */
  run(signal: AbortSignal, onProgress: PoolProgress): Promise<T>;
}

/** How far a job is. */
export type PoolProgress = (doneBytes: number, totalBytes: number | null) => void;

/** All jobs of a pool together. */
export interface PoolTotal {
  readonly jobs: number;
  readonly endedJobs: number;
  readonly doneBytes: number;
  /** Null while the size of one of them is not known. */
  readonly totalBytes: number | null;
}

/** A job that waits, for {@link chooseNext}. */
export interface WaitingJob {
  readonly sizeBytes: number | null;
  /** Somebody waits for it. */
  readonly isNeeded: boolean;
}

/**
 * The place of the job to begin next, -1 without any: one that somebody waits for; then the largest,
 * for a large one begun last would be waited for alone. One of unknown size may be the largest.
 */
export function chooseNext(jobs: readonly WaitingJob[]): number {
  let best = -1;
  for (const [at, job] of jobs.entries()) {
    const other = jobs[best];
    if (other === undefined || isBefore(job, other)) best = at;
  }
  return best;
}

function isBefore(job: WaitingJob, other: WaitingJob): boolean {
  if (job.isNeeded !== other.isNeeded) return job.isNeeded;
  return (job.sizeBytes ?? Infinity) > (other.sizeBytes ?? Infinity);
}

interface Settle<T> {
  resolve(value: T): void;
  reject(error: unknown): void;
}

interface Entry<T> {
  readonly job: PoolJob<T>;
  readonly result: Promise<T>;
  readonly settle: Settle<T>;
  isNeeded: boolean;
  state: "waiting" | "running" | "ended";
  doneBytes: number;
  totalBytes: number | null;
}

/** See the head of this file. */
export class DownloadPool<T> {
  readonly #parallel: number;
  readonly #entries = new Map<string, Entry<T>>();
  readonly #end = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(parallel: number) {
    this.#parallel = parallel;
    // One listener a download: many are no leak.
    setMaxListeners(0, this.#end.signal);
  }

  /** Takes a job; one whose key it has already is left out. */
  add(job: PoolJob<T>): void {
    if (this.#entries.has(job.key)) return;
    const { promise, settle } = openPromise<T>();
    // A job that fails before anybody waits for it fails when somebody does.
    promise.catch(() => undefined);
    const { signal } = this.#end;
    if (signal.aborted) settle.reject(signal.reason);
    this.#entries.set(job.key, {
      job,
      result: promise,
      settle,
      isNeeded: false,
      state: signal.aborted ? "ended" : "waiting",
      doneBytes: 0,
      totalBytes: job.sizeBytes,
    });
  }

  /** Begins as many as may run. To be called after {@link add}. */
  start(): void {
    while (this.#running.size < this.#parallel && !this.#end.signal.aborted) {
      const waiting = [...this.#entries.values()].filter(({ state }) => state === "waiting");
      const next = waiting[chooseNext(waiting.map(toWaiting))];
      if (next === undefined) return;
      this.#begin(next);
    }
  }

  /** What became of a job; it comes before those that nobody waits for. Undefined for an unknown key. Begins others too. */
  async result(key: string): Promise<T | undefined> {
    const entry = this.#entries.get(key);
    if (entry !== undefined) entry.isNeeded = true;
    this.start();
    return await entry?.result;
  }

  /** How far all of them are together. */
  total(): PoolTotal {
    const entries = [...this.#entries.values()];
    const sizes = entries.map(({ totalBytes }) => totalBytes);
    const isKnown = sizes.every((size) => size !== null);
    return {
      jobs: entries.length,
      endedJobs: entries.filter(({ state }) => state === "ended").length,
      doneBytes: entries.reduce((sum, { doneBytes }) => sum + doneBytes, 0),
      totalBytes: isKnown ? sizes.reduce<number>((sum, size) => sum + (size ?? 0), 0) : null,
    };
  }

  /** Aborts what runs, rejects what waits, and resolves when nothing runs any more. */
  async close(reason: unknown): Promise<void> {
    this.#end.abort(reason);
    for (const entry of this.#entries.values()) {
      if (entry.state !== "waiting") continue;
      entry.state = "ended";
      entry.settle.reject(reason);
    }
    await Promise.all(this.#running);
  }

  #begin(entry: Entry<T>): void {
    entry.state = "running";
    const onProgress: PoolProgress = (doneBytes, totalBytes) => {
      entry.doneBytes = doneBytes;
      entry.totalBytes = totalBytes ?? entry.totalBytes;
    };
    const run = async (): Promise<void> => {
      try {
        entry.settle.resolve(await entry.job.run(this.#end.signal, onProgress));
      } catch (error) {
        entry.settle.reject(error);
      }
      entry.state = "ended";
    };
    const running = run().finally(() => {
      this.#running.delete(running);
      this.start();
    });
    this.#running.add(running);
  }
}

function openPromise<T>(): { readonly promise: Promise<T>; readonly settle: Settle<T> } {
  let settle: Settle<T> | undefined;
  const promise = new Promise<T>((resolve, reject) => {
    settle = { resolve, reject };
  });
  invariant(settle !== undefined, "a promise runs its executor at once");
  return { promise, settle };
}

function toWaiting<T>({ totalBytes, isNeeded }: Entry<T>): WaitingJob {
  return { sizeBytes: totalBytes, isNeeded };
}
