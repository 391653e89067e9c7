import { endsByRun } from "./last-ends.ts";
import { runEnd, type ResultRecord, type RunEnd, type StartRecord } from "./record.ts";

/** What became of each run of an experiment so far. */
export interface ExperimentHistory {
  readonly completed: number;
  /** Failed for a reason of their own: not done again. */
  readonly failed: number;
  /** Failed because a service was down, in the order of their numbers. */
  readonly toRepeat: readonly number[];
  /** Begun and never ended: the process was killed. In the order of their numbers. */
  readonly interrupted: readonly StartRecord[];
  /** Whether a run is never done again. */
  isEnded(index: number): boolean;
  /** Whether it completed. */
  isCompleted(index: number): boolean;
  /** How often it was started. */
  startsOf(index: number): number;
}

interface RunState {
  starts: number;
  last: StartRecord | undefined;
  /** Of the last result. */
  endedAttempt: number;
  status: "none" | RunEnd;
}

/**
 * Puts the records of an experiment together. They may come in any order and twice, as they do where
 * a process was killed between two lines.
 */
export function foldHistory(
  starts: Iterable<StartRecord>,
  results: Iterable<ResultRecord>,
): ExperimentHistory {
  const runs = new Map<number, RunState>();
  const of = (index: number): RunState => {
    const known = runs.get(index);
    if (known !== undefined) return known;
    const state: RunState = { starts: 0, last: undefined, endedAttempt: 0, status: "none" };
    runs.set(index, state);
    return state;
  };
  for (const start of starts) {
    const state = of(start.index);
    state.starts = Math.max(state.starts, start.attempt);
    if (state.last === undefined || start.attempt >= state.last.attempt) state.last = start;
  }
  for (const { last, attempts } of endsByRun(results)) {
    const state = of(last.index);
    state.starts = Math.max(state.starts, attempts);
    state.endedAttempt = attempts;
    state.status = runEnd(last);
  }
  return toHistory(runs);
}

function toHistory(runs: ReadonlyMap<number, RunState>): ExperimentHistory {
  const inOrder = [...runs].sort(([a], [b]) => a - b);
  const count = (status: RunState["status"]): number =>
    inOrder.filter(([, state]) => state.status === status).length;
  const isEnded = (index: number): boolean => {
    const status = runs.get(index)?.status;
    return status === "completed" || status === "failed";
  };
  return {
    completed: count("completed"),
    failed: count("failed"),
    toRepeat: inOrder.flatMap(([index, state]) =>
      state.status === "down" && !isInterrupted(state) ? [index] : [],
    ),
    interrupted: inOrder.flatMap(([, state]) =>
      isInterrupted(state) && state.last !== undefined ? [state.last] : [],
    ),
    isEnded,
    isCompleted: (index) => runs.get(index)?.status === "completed",
    startsOf: (index) => runs.get(index)?.starts ?? 0,
  };
}

/** A start that no result answers, of a run that is not over anyway. */
function isInterrupted({ status, last, endedAttempt }: RunState): boolean {
  return (
    status !== "completed" &&
    status !== "failed" &&
    last !== undefined &&
    last.attempt > endedAttempt
  );
}
