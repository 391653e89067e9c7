/**
 * A simulated process: whatever runs in it hears of the world only by what is delivered to it. One
 * that is killed is delivered nothing any more, so that it does nothing any more, at once and in the
 * middle of whatever it did: that is signal 9. One that is stopped (signal 19, a machine asleep) is
 * delivered everything late.
 */
import { abortReason, type Abortable, type Clock } from "@holdfast/runtime";
import type { Timeline } from "./timeline.ts";

/** Epoch milliseconds at which every simulation starts: in 2065, so that no real clock is near. */
export const EPOCH_MS = 3_000_000_000_000;

/** How the clocks of a process differ from the world's. */
export interface Skew {
  /** The wall clock is ahead by so much. May be set while the process runs. */
  aheadMs: number;
  /** Of its own milliseconds that pass in one of the world's: 1 is right. */
  readonly rate: number;
}

/** See the header. */
export interface SimProcess {
  readonly name: string;
  readonly clock: Clock;
  readonly skew: Skew;
  isAlive(): boolean;
  isStopped(): boolean;
  /** Lets something happen to it after so many ms of the world's time, unless it is dead by then. */
  after(ms: number, deliver: () => void): { cancel(): void };
  /** Something that comes from the outside at this very instant; false when it is dead. */
  deliver(run: () => void): boolean;
  kill(): void;
  /** Stands still until {@link resume}. */
  stop(): void;
  resume(): void;
  /** Runs when it is killed; gives what takes that back. */
  onKill(run: () => void): () => void;
}

/** Starts a process. */
export function createProcess(
  timeline: Timeline,
  name: string,
  skew: Skew = { aheadMs: 0, rate: 1 },
): SimProcess {
  const startedAt = timeline.now();
  let isAlive = true;
  let isStopped = false;
  let late: (() => void)[] = [];
  const onKill = new Set<() => void>();

  const deliver = (run: () => void): boolean => {
    if (!isAlive) return false;
    if (isStopped) late.push(run);
    else run();
    return true;
  };
  const after: SimProcess["after"] = (ms, run) => {
    let isOver = false;
    const scheduled = timeline.after(ms, () => {
      deliver(() => {
        if (!isOver) run();
      });
    });
    return {
      cancel() {
        isOver = true;
        scheduled.cancel();
      },
    };
  };
  const clock: Clock = {
    now: () => Math.floor(EPOCH_MS + timeline.now() + skew.aheadMs),
    elapsed: () => (timeline.now() - startedAt) * skew.rate,
    sleep(ms: number, signal?: Abortable) {
      return new Promise((resolve, reject) => {
        if (signal?.aborted === true) {
          reject(abortReason(signal));
          return;
        }
        const onAbort = (): void => {
          sleeper.cancel();
          if (signal !== undefined) reject(abortReason(signal));
        };
        // As the platform's timers: whole milliseconds, and at least one.
        const sleeper = after(Math.max(1, Math.trunc(ms)) / skew.rate, () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        });
        signal?.addEventListener("abort", onAbort, { once: true });
      });
    },
  };

  return {
    name,
    clock,
    skew,
    isAlive: () => isAlive,
    isStopped: () => isStopped,
    after,
    deliver,
    kill() {
      if (!isAlive) return;
      isAlive = false;
      late = [];
      for (const run of onKill) run();
      onKill.clear();
    },
    stop() {
      isStopped = true;
    },
    resume() {
      if (!isStopped) return;
      isStopped = false;
      const missed = late;
      late = [];
      for (const run of missed) run();
    },
    onKill(run) {
      onKill.add(run);
      return () => void onKill.delete(run);
    },
  };
}
