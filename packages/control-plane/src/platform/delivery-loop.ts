import type { Clock, Random } from "@holdfast/runtime";
import type { Log } from "./log.ts";
import { createLoop, type Loop } from "./loop.ts";

/** Whoever delivers: what is due is begun, and goes on beside the loop. */
export interface Deliverer {
  /**
   * Claims what is due, as far as there is room, and starts its tries. Returns how many; `onSettled` is
   * called after each.
   */
  startDue(signal: AbortSignal, onSettled?: () => void): Promise<number>;
  /** Resolves when no try is under way. */
  idle(): Promise<void>;
}

/** The loop of a deliverer. Its stop breaks off what is under way, and waits for it. */
export function createDeliveryLoop(options: {
  readonly name: string;
  readonly everyMs: number;
  readonly deliverer: Deliverer;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}): Loop {
  const { deliverer, ...rest } = options;
  let stopping = new AbortController();
  const loop: Loop = createLoop({
    ...rest,
    tick: async () => {
      const started = await deliverer.startDue(stopping.signal, () => loop.wake());
      return started > 0 ? "more" : "idle";
    },
  });
  return {
    name: loop.name,
    async start() {
      stopping = new AbortController();
      await loop.start();
    },
    async stop() {
      stopping.abort(new Error("stopping"));
      await loop.stop();
      await deliverer.idle();
    },
    wake: () => loop.wake(),
  };
}
