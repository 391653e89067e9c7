/**
 * Which run of an experiment starts next, when services are checked, and where to resume. Bookkeeping
 * alone: nothing is started or asked here.
 *
 * I1: a run that ended, completed or failed for its own reason, is never started again.
 * I2: at every stop, each run below the number that is told for `--start-from` has ended, or the
 *     records say that it has to be done again (failed while a service was down, or begun and never
 *     ended). So nothing is left out by going on there.
 * I3: after the last run before a multiple of the interval was started, none is until a check passed.
 */
import { invariant } from "@holdfast/runtime";
import type { ExperimentHistory } from "./results/history.ts";
import type { RunEnd } from "./results/record.ts";
import { createRunQueue } from "./run-queue.ts";

/** What is to be done, and what was done before. */
export interface ScheduleFacts {
  readonly count: number;
  /** `--start-from`; 0 for all that has not ended, which is what `--resume` means. */
  readonly startFrom: number;
  /** Most runs at a time. */
  readonly inFlightMax: number;
  /** `PERIODIC_HEALTH_CHECK_INTERVAL` */
  readonly checkInterval: number;
  /** Of the same experiment's folder; an empty one for a new folder. */
  readonly history: ExperimentHistory;
}

/** What to do next. */
export type ScheduleStep =
  /** Start this run; it counts as in flight from now on. */
  | { readonly kind: "start"; readonly index: number }
  /** Check all services, and say what came of it. Runs in flight go on meanwhile. */
  | { readonly kind: "check"; readonly experiment: number }
  /** Nothing until a run or the check ends. */
  | { readonly kind: "wait" }
  /** A check failed and nothing is in flight any more: `--start-from` goes on here. */
  | { readonly kind: "stopped"; readonly experiment: number }
  | { readonly kind: "finished" };

/** Where an experiment stands. */
export interface ScheduleView {
  /** Of this process and those before it. */
  readonly completed: number;
  /** … for their own reasons. */
  readonly failed: number;
  /** Failed while a service was down, and not repeated since. */
  readonly down: readonly number[];
  readonly inFlight: readonly number[];
  /**
   * What `--start-from` would have to be if it all stopped now and every start is on disk. Somebody
   * who was not told it resumes from 0.
   */
  readonly startFrom: number;
}

/** The bookkeeping of one process. */
export interface Schedule {
  /** The next step, which counts as begun. */
  next(): ScheduleStep;
  ended(index: number, end: RunEnd): void;
  /** `wasDown`: an attempt before the one that passed had failed. */
  checkPassed(wasDown: boolean): void;
  /** Nothing is started any more. */
  checkFailed(): void;
  view(): ScheduleView;
}

/** Begins where the history ends: first what has to be repeated below `startFrom`, then the rest. */
export function createSchedule(facts: ScheduleFacts): Schedule {
  const { count, startFrom, inFlightMax, checkInterval, history } = facts;
  invariant(
    inFlightMax >= 1 && checkInterval >= 1 && startFrom >= 0 && startFrom <= count,
    "a schedule that starts nothing",
  );
  const queue = createRunQueue(count, startFrom, history);
  const multipleBelow = (index: number): number =>
    Math.floor(index / checkInterval) * checkInterval;
  let checkedAt = multipleBelow(queue.position());
  let phase: "running" | "checking" | "stopping" = "running";
  let checkAt = 0;
  /** Since the last check; they have no multiples of their own. */
  let repeatsStarted = 0;
  const inFlight = new Set<number>();
  /** Of this process: only these may be repeated by it, others are in the queue anyway. */
  const down = new Set<number>();
  const downBefore = new Set(history.toRepeat);
  let { completed, failed } = history;

  const dueCheck = (): number | undefined => {
    const position = queue.position();
    if (queue.isRepeating()) return repeatsStarted >= checkInterval ? position : undefined;
    const multiple = multipleBelow(position);
    return position < count && multiple > checkedAt ? multiple : undefined;
  };
  const start = (): ScheduleStep => {
    if (inFlight.size >= inFlightMax) return { kind: "wait" };
    if (queue.isRepeating()) repeatsStarted += 1;
    const index = queue.take();
    if (index === undefined) return { kind: inFlight.size > 0 ? "wait" : "finished" };
    inFlight.add(index);
    down.delete(index);
    downBefore.delete(index);
    return { kind: "start", index };
  };

  return {
    next() {
      if (phase === "stopping") {
        return inFlight.size > 0 ? { kind: "wait" } : { kind: "stopped", experiment: checkAt };
      }
      if (phase === "checking") return { kind: "wait" };
      const due = dueCheck();
      if (due === undefined) return start();
      phase = "checking";
      checkAt = due;
      return { kind: "check", experiment: due };
    },
    ended(index, end) {
      invariant(inFlight.delete(index), `run ${index} ended, and was not in flight`);
      if (end === "completed") completed += 1;
      else if (end === "failed") failed += 1;
      else down.add(index);
    },
    checkPassed(wasDown) {
      invariant(phase === "checking", "a check passed that nobody made");
      phase = "running";
      checkedAt = Math.max(checkedAt, multipleBelow(queue.position()));
      repeatsStarted = 0;
      // Somebody waited until all was well: what failed meanwhile comes first.
      if (wasDown) queue.repeat(inOrder(down));
    },
    checkFailed() {
      invariant(phase === "checking", "a check failed that nobody made");
      phase = "stopping";
    },
    view: () => ({
      completed,
      failed,
      down: inOrder([...down, ...downBefore]),
      inFlight: inOrder(inFlight),
      startFrom: phase === "stopping" ? checkAt : queue.position(),
    }),
  };
}

function inOrder(indices: Iterable<number>): readonly number[] {
  return [...indices].sort((a, b) => a - b);
}
