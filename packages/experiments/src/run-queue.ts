/** The order in which the runs of one process start: what is repeated, and then the rest. */
import type { ExperimentHistory } from "./results/history.ts";

/**
 * How often one process starts a run again that failed while services were down. Somebody who waits
 * for services (`--on-unhealthy wait`) would else repeat for ever a run that takes them down itself.
 */
export const REPEATS_MAX = 2;

/** Runs that are still to be started. */
export interface RunQueue {
  /** The next one, which is then started; undefined when there is none. */
  take(): number | undefined;
  /** Whether what comes next is a repetition. */
  isRepeating(): boolean;
  /** The next one that is none: `count` after the last. */
  position(): number;
  /** Puts runs before all others that were not started, each `REPEATS_MAX` times at most. */
  repeat(indices: Iterable<number>): void;
}

/** Runs of 0 to `count` - 1 from one on, before them those below it that have to be done again. */
export function createRunQueue(
  count: number,
  startFrom: number,
  history: ExperimentHistory,
): RunQueue {
  /** I1 of the schedule: what ended is passed by. */
  const firstOpen = (from: number): number => {
    let index = from;
    while (index < count && history.isEnded(index)) index += 1;
    return index;
  };
  let next = firstOpen(startFrom);
  const repeats = repeatsBelow(startFrom, history);
  const repeatCounts = new Map<number, number>();
  return {
    take() {
      const repeat = repeats.shift();
      if (repeat !== undefined) return repeat;
      if (next >= count) return undefined;
      const index = next;
      next = firstOpen(index + 1);
      return index;
    },
    isRepeating: () => repeats.length > 0,
    position: () => next,
    repeat(indices) {
      for (const index of indices) {
        const before = repeatCounts.get(index) ?? 0;
        if (before >= REPEATS_MAX || repeats.includes(index)) continue;
        repeatCounts.set(index, before + 1);
        repeats.push(index);
      }
    },
  };
}

function repeatsBelow(startFrom: number, history: ExperimentHistory): number[] {
  const { toRepeat, interrupted } = history;
  return [...new Set([...toRepeat, ...interrupted.map(({ index }) => index)])]
    .filter((index) => index < startFrom)
    .sort((a, b) => a - b);
}
