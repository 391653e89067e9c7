import { abortReason, type Abortable, type Clock } from "../clock.ts";

/** A clock that stands still until a test advances it. */
export interface FakeClock extends Clock {
  /** Moves time on by `ms`, waking sleepers in the order of their instants. */
  advance(ms: number): Promise<void>;
  /** How many sleepers wait now. */
  sleeperCount(): number;
  /** Advances just to the next sleeper's instant; false when nobody sleeps. */
  advanceToNext(): Promise<boolean>;
}

interface Sleeper {
  readonly wakeAt: number;
  readonly order: number;
  readonly wake: () => void;
}

/** How many microtask turns woken code gets before the next sleeper wakes. */
const SETTLE_TURNS = 50;

/** Makes a {@link FakeClock} that starts at `startMs` (epoch milliseconds). */
export function createFakeClock(startMs = 1_700_000_000_000): FakeClock {
  let nowMs = startMs;
  let order = 0;
  const sleepers = new Set<Sleeper>();

  const nextSleeper = (): Sleeper | undefined =>
    [...sleepers].sort((a, b) => a.wakeAt - b.wakeAt || a.order - b.order)[0];

  const clock: FakeClock = {
    now: () => nowMs,
    elapsed: () => nowMs - startMs,
    sleep(ms: number, signal?: Abortable): Promise<void> {
      return new Promise((resolve, reject) => {
        if (signal?.aborted === true) {
          reject(abortReason(signal));
          return;
        }
        const onAbort = (): void => {
          sleepers.delete(sleeper);
          if (signal !== undefined) reject(abortReason(signal));
        };
        const sleeper: Sleeper = {
          wakeAt: nowMs + Math.max(0, ms),
          order: (order += 1),
          wake: () => {
            signal?.removeEventListener("abort", onAbort);
            resolve();
          },
        };
        signal?.addEventListener("abort", onAbort, { once: true });
        sleepers.add(sleeper);
      });
    },
    async advance(ms) {
      const target = nowMs + ms;
      await settle();
      for (;;) {
        const sleeper = nextSleeper();
        if (sleeper === undefined || sleeper.wakeAt > target) break;
        nowMs = Math.max(nowMs, sleeper.wakeAt);
        sleepers.delete(sleeper);
        sleeper.wake();
        await settle();
      }
      nowMs = target;
    },
    sleeperCount: () => sleepers.size,
    async advanceToNext() {
      await settle();
      const sleeper = nextSleeper();
      if (sleeper === undefined) return false;
      await clock.advance(sleeper.wakeAt - nowMs);
      return true;
    },
  };
  return clock;
}

async function settle(): Promise<void> {
  for (let i = 0; i < SETTLE_TURNS; i += 1) await Promise.resolve();
}
