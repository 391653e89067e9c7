import type { Clock, Random } from "@holdfast/runtime";
import type { Log } from "./log.ts";
import { createLoop, type Loop } from "./loop.ts";

const REST = 3;

/** What one step of a sweep did. */
export interface SweptPart<Key> {
  readonly removed: number;
  /** Where the next part begins; undefined when this was the last. */
  readonly next: Key | undefined;
}

/** How a table is looked through for what may go. */
export interface SweepOptions<Key> {
  readonly name: string;
  /** Pause between two passes over the table. */
  readonly everyMs: number;
  /** Looks at a bounded part of the table, from after `after`; undefined is the beginning. */
  readonly step: (after: Key | undefined, signal: AbortSignal) => Promise<SweptPart<Key>>;
  /** Told what a pass removed, when it removed something. */
  readonly onPass: (removed: number) => void;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/**
 * Goes through a table again and again in bounded steps, so that neither a large table nor what must
 * stay holds anything up: a step takes as long at a thousand rows as at a million. Between two steps
 * it rests for three times as long as the step took: nothing here is urgent.
 */
export function createSweepLoop<Key>(options: SweepOptions<Key>): Loop {
  const { clock } = options;
  let after: Key | undefined;
  let removed = 0;
  return createLoop({
    ...options,
    tick: async (signal) => {
      const begunAt = clock.elapsed();
      const part = await options.step(after, signal);
      after = part.next;
      removed += part.removed;
      if (after !== undefined) {
        await clock.sleep(REST * (clock.elapsed() - begunAt), signal);
        return "more";
      }
      if (removed > 0) options.onPass(removed);
      removed = 0;
      return "idle";
    },
  });
}
