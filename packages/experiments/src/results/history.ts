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

/** How the last result of a run was. `down`: it failed because a service was down. */
export type RunStatus = "none" | RunEnd;

/** How a run stands. */
export interface RunStanding {
  /** How often it was started. */
  readonly starts: number;
  /** The last start, which its result follows unless the process was killed. */
  readonly last: StartRecord | undefined;
  /** Whether the last start has its result. */
  readonly hasEnded: boolean;
  readonly status: RunStatus;
}

/**
 * The records of an experiment, put together one by one. They may come in any order and twice, as they
 * do where a process was killed between two lines.
 */
export interface RunLedger {
  started(record: StartRecord): void;
  ended(record: ResultRecord): void;
  standing(index: number): RunStanding;
  /** In the order of their numbers. */
  runsThatAre(status: RunStatus): readonly number[];
}

interface RunState {
  starts: number;
  last: StartRecord | undefined;
  /** Of the last result. */
  endedAttempt: number;
  status: RunStatus;
}

/** An empty ledger. */
export function createRunLedger(): RunLedger {
  return ledgerOf(new Map());
}

/** What the records of an experiment come to. */
export function foldHistory(
  starts: Iterable<StartRecord>,
  results: Iterable<ResultRecord>,
): ExperimentHistory {
  const runs = new Map<number, RunState>();
  const ledger = ledgerOf(runs);
  for (const start of starts) ledger.started(start);
  for (const result of results) ledger.ended(result);
  return toHistory(runs);
}

function ledgerOf(runs: Map<number, RunState>): RunLedger {
  const of = (index: number): RunState => {
    const known = runs.get(index);
    if (known !== undefined) return known;
    const state: RunState = { starts: 0, last: undefined, endedAttempt: 0, status: "none" };
    runs.set(index, state);
    return state;
  };
  return {
    started(start) {
      const state = of(start.index);
      state.starts = Math.max(state.starts, start.attempt);
      if (state.last === undefined || start.attempt >= state.last.attempt) state.last = start;
    },
    ended(result) {
      const state = of(result.index);
      const isOlder = result.attempt < state.endedAttempt;
      state.starts = Math.max(state.starts, result.attempt);
      state.endedAttempt = Math.max(state.endedAttempt, result.attempt);
      // I2: completed wins, otherwise the later.
      const isBeaten = state.status === "completed" || isOlder;
      if (result.status === "completed" || !isBeaten) state.status = runEnd(result);
    },
    standing(index) {
      const state = runs.get(index);
      if (state === undefined) return UNTOUCHED;
      const { starts, last, endedAttempt, status } = state;
      return { starts, last, hasEnded: endedAttempt >= (last?.attempt ?? 0), status };
    },
    runsThatAre: (status) =>
      [...runs]
        .flatMap(([index, run]) => (run.status === status ? [index] : []))
        .sort((a, b) => a - b),
  };
}

const UNTOUCHED: RunStanding = { starts: 0, last: undefined, hasEnded: true, status: "none" };

function toHistory(runs: ReadonlyMap<number, RunState>): ExperimentHistory {
  const inOrder = [...runs].sort(([a], [b]) => a - b);
  const count = (status: RunStatus): number =>
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
