/** What a fault's record comes to. Pure. */
import type { ErrorClass } from "@holdfast/recovery";
import type { FaultKind } from "./fault-kind.ts";
import type { ChangedValue, FaultRecord, PictureRecord } from "./record.ts";

/** The verdict on one fault. `null`: there was nothing to judge. */
export interface Verdict {
  /** Completed, and rightly so. */
  readonly isRecovered: boolean;
  /** Said to be completed, with outputs missing or other pixels than its declared graph gives. */
  readonly isFalse: boolean;
  /** One that nobody could finish ended `failed`, of its class, soon. */
  readonly isEndedRightly: boolean | null;
  readonly isClassRight: boolean | null;
  readonly isStrategyRight: boolean | null;
  readonly isChangeRight: boolean | null;
  readonly isResumeRight: boolean | null;
}

/** What cannot be recovered must be told within this simulated time. */
export const TOLD_WITHIN_MS = 120_000;

/** C1's table: what is done about a class. The other classes are Holdfast's own. */
const STRATEGIES: Readonly<Partial<Record<ErrorClass, string>>> = {
  cuda_out_of_memory: "REDUCE_PARAMS",
  timeout: "RESUME_CHECKPOINT",
  model_missing: "SWITCH_MODEL",
  network_error: "RETRY",
  disk_full: "ABORT",
};
/** Classes after which a job goes on from its last checkpoint. */
const RESUMING: ReadonlySet<string> = new Set(["timeout", "instance_crash"]);

/** Judges one fault. */
export function judge(kind: FaultKind, record: FaultRecord): Verdict {
  const isCompleted = record.state === "completed";
  const isFalse = isCompleted && !areSame(record.pictures, record.expected);
  const isRecovered = isCompleted && !isFalse;
  const first = record.attempts.find((attempt) => attempt.class !== null);
  return {
    isRecovered,
    isFalse,
    isEndedRightly: kind.isRecoverable
      ? null
      : record.state === "failed" &&
        record.errorClass === kind.class &&
        record.tookMs <= TOLD_WITHIN_MS,
    isClassRight:
      first === undefined ? null : first.class === kind.class || first.class === kind.orClass,
    isStrategyRight: judgeStrategy(kind, first),
    isChangeRight:
      record.steps.length === 0 ? null : isRecovered && areValuesRight(kind, record.changed),
    isResumeRight: judgeResume(record, isRecovered),
  };
}

function judgeStrategy(
  kind: FaultKind,
  first: FaultRecord["attempts"][number] | undefined,
): boolean | null {
  const due = STRATEGIES[kind.class];
  if (due === undefined || first?.class === undefined) return null;
  // Called by its other right name it has that class's strategy, which C1 does not speak of.
  if (first.class === kind.orClass && STRATEGIES[first.class as ErrorClass] === undefined) {
    return null;
  }
  return first.strategy === due;
}

/**
 * A resume is due when a run had finished a sampler before it timed out or its instance died, and the
 * job went on: then no sampler may run to its end twice, and the pixels must be the same.
 */
function judgeResume(record: FaultRecord, isRecovered: boolean): boolean | null {
  const at = record.attempts.findIndex((attempt) => RESUMING.has(attempt.class ?? ""));
  const failed = record.attempts[at];
  const isDue = failed !== undefined && failed.samplersDone > 0 && record.attempts.length > at + 1;
  if (!isDue) return null;
  const done = record.attempts.reduce((sum, attempt) => sum + attempt.samplersDone, 0);
  return isRecovered && record.loss === "none" && done <= record.samplers;
}

function areSame(pictures: readonly PictureRecord[], expected: readonly PictureRecord[]): boolean {
  const keyOf = ({ nodeId, ordinal, pixels }: PictureRecord): string =>
    `${nodeId}/${String(ordinal)} ${pixels}`;
  const wanted = expected.map(keyOf).sort();
  return expected.length > 0 && pictures.map(keyOf).sort().join() === wanted.join();
}

/** Reductions that one job may have gone through. */
const ROUNDS_MAX = 10;
/** Latents are 8 × 8 pixels: what is written into a node is snapped down to that. */
const RASTER = 8;

/** By C1's numbers: −20 % to 512 pixels, −20 % to 20 steps, half the batch. */
const REDUCERS: Readonly<Record<string, (value: number) => number>> = {
  width: reduceSide,
  height: reduceSide,
  steps: (value) => (value <= 20 ? value : Math.max(20, Math.floor(value * 0.8))),
  batch_size: (value) => Math.max(1, Math.floor(value / 2)),
};

function reduceSide(value: number): number {
  if (value <= 512) return value;
  return Math.max(512, Math.floor(Math.floor(value * 0.8) / RASTER) * RASTER);
}

/** Whether all values are what so many rounds of C1's reduction make of the caller's. */
function areValuesRight(kind: FaultKind, changed: readonly ChangedValue[]): boolean {
  const models = changed.filter(({ input }) => input === "ckpt_name");
  if (models.some(({ to }) => to !== kind.rightModel)) return false;
  const numbers = changed.filter(({ input }) => input !== "ckpt_name");
  if (numbers.length === 0) return true;
  return Array.from({ length: ROUNDS_MAX }, (_, round) => round + 1).some((rounds) =>
    numbers.every(({ input, from, to }) => reduced(input, from, rounds) === to),
  );
}

function reduced(input: string, from: unknown, rounds: number): number | undefined {
  const reduce = REDUCERS[input];
  if (reduce === undefined || typeof from !== "number") return undefined;
  let value = from;
  for (let round = 0; round < rounds; round += 1) value = reduce(value);
  return value;
}
