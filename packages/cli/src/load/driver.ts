/**
 * Runs the jobs of a load run: asks the pacing when the next one begins, begins it, and hands on a sample
 * when it has ended.
 *
 * I1: every job that was begun has exactly one sample, also after Ctrl-C.
 * I2: what the harness is late with is in the sample: a job counts from when it was meant to begin.
 */
import type { Graph } from "@holdfast/comfyui/protocol";
import {
  isWarmUp,
  toJobSample,
  type JobSample,
  type Pacing,
  type PlannedJob,
  type StoppedBecause,
  type WarmUp,
} from "@holdfast/load";
import type { Clock } from "@holdfast/runtime";
import { UNREACHABLE_CLASS, type LoadTarget } from "./load-target.ts";

/** What a driver is made of. */
export interface DriverOptions {
  readonly target: Pick<LoadTarget, "render">;
  readonly pacing: Pacing;
  readonly plan: (index: number) => PlannedJob;
  readonly graphOf: (job: PlannedJob) => Graph;
  readonly warmUp: WarmUp;
  readonly timeoutMs: number;
  readonly clock: Clock;
  /** Aborted: jobs in flight are cancelled, and no other begins. */
  readonly cancel: AbortSignal;
  /** Asked after each sample: `gpu` or `errors` begins no other job; those in flight go on to their ends. */
  readonly stopWish: () => "gpu" | "errors" | null;
  readonly onSample: (sample: JobSample, message: string) => void;
}

/** How a run stands. */
export interface DriverState {
  readonly begun: number;
  readonly inFlight: number;
  /** What the pace wanted when the last job began. */
  readonly level: number;
}

/** How a run ended. */
export interface DriverEnd {
  readonly stoppedBecause: StoppedBecause;
  /** Jobs that were due and were not sent. */
  readonly neverBegun: number;
}

/** One run. */
export interface Driver {
  /** Resolves when every job has ended; rejects with what a target threw, which is a bug. */
  run(): Promise<DriverEnd>;
  state(): DriverState;
  /** `elapsed()` of the clock when it began. */
  originAt(): number;
  /** Asks the stop rules again: a card may be full while no job ends. */
  wake(): void;
}

/** So many jobs in a row that reached nobody: the target is gone, and the rest would only say so again. */
const LOST_AFTER = 20;
/** Jobs that are begun in one go: between two goes answers are read, and Ctrl-C is heard. */
const BURST = 32;

/** Makes a driver; nothing runs before `run`. */
export function createDriver(options: DriverOptions): Driver {
  const { clock, cancel, pacing } = options;
  const run = { originAt: 0, begun: 0, inFlight: 0, level: 0, unreachable: 0 };
  let failure: { readonly error: unknown } | undefined;
  const bell = createBell();

  const begin = (intendedAtMs: number, level: number): void => {
    const job = options.plan(run.begun);
    run.begun += 1;
    run.inFlight += 1;
    run.level = level;
    const { index, workflow } = job;
    const warmUp = isWarmUp(options.warmUp, { index, intendedMs: intendedAtMs });
    const sampled = { index, workflow, level, intendedMs: intendedAtMs, warmUp };
    const { timeoutMs, target } = options;
    target
      .render({ index, workflow, graph: options.graphOf(job), timeoutMs }, cancel)
      .then(({ seen, message }) => {
        run.unreachable = seen.errorClass === UNREACHABLE_CLASS ? run.unreachable + 1 : 0;
        options.onSample(toJobSample(sampled, seen, run.originAt), message);
      })
      .catch((error: unknown) => {
        failure ??= { error };
      })
      .finally(() => {
        run.inFlight -= 1;
        bell.ring();
      });
  };

  const stopReason = (): StoppedBecause | null => {
    if (cancel.aborted) return "cancelled";
    return run.unreachable >= LOST_AFTER ? "target_lost" : options.stopWish();
  };

  const beginAll = async (): Promise<DriverEnd> => {
    let burst = 0;
    for (;;) {
      const stopped = failure === undefined ? stopReason() : "cancelled";
      if (stopped !== null) return { stoppedBecause: stopped, neverBegun: 0 };
      const heard = bell.next();
      const elapsedMs = clock.elapsed() - run.originAt;
      const step = pacing.step({ elapsedMs, begun: run.begun, inFlight: run.inFlight });
      switch (step.kind) {
        case "begin":
          begin(step.intendedAtMs, step.level);
          burst += 1;
          if (burst % BURST === 0) await clock.sleep(0);
          break;
        case "wait":
          await untilOrHeard(clock, step.untilMs - elapsedMs, heard);
          break;
        case "full":
          await (step.untilMs === null
            ? heard
            : untilOrHeard(clock, step.untilMs - elapsedMs, heard));
          break;
        case "over":
          return { stoppedBecause: step.why, neverBegun: step.neverBegun };
      }
    }
  };

  return {
    async run() {
      run.originAt = clock.elapsed();
      const onCancel = (): void => bell.ring();
      cancel.addEventListener("abort", onCancel);
      try {
        const end = await beginAll();
        for (let heard = bell.next(); run.inFlight > 0; heard = bell.next()) await heard;
        if (failure !== undefined) throw failure.error;
        return { ...end, stoppedBecause: cancel.aborted ? "cancelled" : end.stoppedBecause };
      } finally {
        cancel.removeEventListener("abort", onCancel);
      }
    },
    state: () => ({ begun: run.begun, inFlight: run.inFlight, level: run.level }),
    originAt: () => run.originAt,
    wake: () => bell.ring(),
  };
}

interface Bell {
  ring(): void;
  /** Resolves at the next ring. */
  next(): Promise<void>;
}

function createBell(): Bell {
  let ring: () => void = () => undefined;
  let next: Promise<void> | undefined;
  return {
    ring() {
      next = undefined;
      ring();
    },
    next() {
      next ??= new Promise((resolve) => {
        ring = resolve;
      });
      return next;
    },
  };
}

async function untilOrHeard(clock: Clock, ms: number, heard: Promise<void>): Promise<void> {
  const over = new AbortController();
  const slept = clock.sleep(ms, over.signal).catch(() => undefined);
  await Promise.race([slept, heard]);
  over.abort();
}
