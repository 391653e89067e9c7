/** Looks at an HTTP address at its pace, for as long as there is something to look at. */
import type { Clock, Service } from "@holdfast/runtime";
import { nextCheck, UNCHECKED, type CheckRules } from "./check-decision.ts";
import type { CheckStatus } from "./model.ts";
import type { Probe, ProbeTarget } from "./probe.ts";
import { createWakeablePause } from "./wakeable-pause.ts";

/** What to look at, and how. */
export interface HttpCheckOptions extends ProbeTarget, CheckRules {
  readonly everyMs: number;
  readonly clock: Clock;
  readonly probe: Probe;
  /** Told after every look that changed the state or its reason. Must not wait. */
  readonly onChange: () => void;
}

/** A check of a service. Looks only between `start` and `stop`. */
export interface HttpCheck extends Service {
  status(): CheckStatus;
  /** The service was started anew: what was found before means nothing, and grace begins. */
  reset(): void;
}

/** Until the first pass a service is looked at this often, if not oftener: a start is seen at once. */
const STARTING_EVERY_MS = 1_000;

/** Makes a check; `pending` until its first look has ended. */
export function createHttpCheck(options: HttpCheckOptions): HttpCheck {
  const { clock, probe, onChange, everyMs } = options;
  const pause = createWakeablePause(clock);
  let memory = UNCHECKED;
  let startedAt = clock.elapsed();
  /** Grows with every reset: a look that was under way then speaks of the process before. */
  let epoch = 0;
  let stopping = new AbortController();
  let running: Promise<void> | undefined;

  const reset = (): void => {
    epoch += 1;
    memory = UNCHECKED;
    startedAt = clock.elapsed();
    pause.wake();
  };

  const look = async (signal: AbortSignal): Promise<void> => {
    const mine = epoch;
    const outcome = await probe(options, signal);
    if (signal.aborted || mine !== epoch) return;
    const before = memory.status;
    memory = nextCheck(memory, outcome, options, {
      sinceStartMs: clock.elapsed() - startedAt,
      checkedAt: clock.now(),
    });
    const { status } = memory;
    if (status.state !== before.state || status.detail !== before.detail) onChange();
  };

  const run = async (signal: AbortSignal): Promise<void> => {
    while (!signal.aborted) {
      pause.forget();
      await look(signal);
      const isStarting = memory.status.state === "pending";
      await pause.pause(isStarting ? Math.min(everyMs, STARTING_EVERY_MS) : everyMs, signal);
    }
  };

  return {
    name: `check of ${options.url}`,
    status: () => memory.status,
    reset,
    async start() {
      if (running !== undefined) return;
      stopping = new AbortController();
      reset();
      running = run(stopping.signal);
    },
    async stop() {
      stopping.abort(new Error("stopping"));
      await running;
      running = undefined;
    },
  };
}
