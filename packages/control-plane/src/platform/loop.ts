import { backoffMs, type Clock, type Random, type Service } from "@holdfast/runtime";
import type { Log } from "./log.ts";
import { createWakeablePause } from "./wakeable-pause.ts";

/** How a background loop runs. */
export interface LoopOptions {
  readonly name: string;
  /** Pause between ticks that found nothing more to do. */
  readonly everyMs: number;
  /**
   * Least time from the start of an idle tick to the next, however often it is woken: what comes
   * meanwhile is handled together. The first wake after a quiet time is heeded at once. Default 0.
   */
  readonly restMs?: number;
  /**
   * One bounded step of reconciling. Returns `more` when there is work left, to be called again at
   * once. What it throws is logged and tried again with growing delay.
   */
  readonly tick: (signal: AbortSignal) => Promise<"more" | "idle" | undefined | void>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** A loop that survives its own failures. */
export interface Loop extends Service {
  /** Ends the pause: there may be something to do. A wake during a tick causes one more. */
  wake(): void;
}

const FAILURE_BACKOFF = { initialMs: 200, factor: 2, maxMs: 15_000, jitter: 0.3 };

/** Makes a loop; it runs from `start` to `stop`, which waits for the tick that is under way. */
export function createLoop(options: LoopOptions): Loop {
  const { clock, log, restMs = 0 } = options;
  let stopping = new AbortController();
  const sleeper = createWakeablePause(clock);
  let running: Promise<void> | undefined;

  const run = async (signal: AbortSignal): Promise<void> => {
    let failures = 0;
    while (!signal.aborted) {
      const startedAt = clock.elapsed();
      sleeper.forget();
      try {
        const outcome = await options.tick(signal);
        failures = 0;
        if (outcome === "more") continue;
        await sleeper.pause(options.everyMs);
        const restLeftMs = startedAt + restMs - clock.elapsed();
        // Cut short by a stop alone.
        if (restLeftMs > 0) await clock.sleep(restLeftMs, signal).catch(() => undefined);
      } catch (err) {
        if (signal.aborted) return;
        failures += 1;
        log.warn({ err, loop: options.name, failures }, "loop tick failed, trying again");
        await sleeper.pause(backoffMs(FAILURE_BACKOFF, failures, options.random));
      }
    }
  };

  return {
    name: options.name,
    async start() {
      if (running !== undefined) return;
      stopping = new AbortController();
      running = run(stopping.signal);
    },
    async stop() {
      stopping.abort(new Error("stopping"));
      sleeper.wake();
      await running;
      running = undefined;
    },
    wake: () => sleeper.wake(),
  };
}
