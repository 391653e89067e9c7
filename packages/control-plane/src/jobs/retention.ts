/**
 * How long ended jobs are kept. Pure: what is removed when, in batches of what size, and what a
 * caller is told who asks for a job that may be gone.
 */
import { ENDED_JOB_STATUSES } from "@holdfast/contract";
import { timeOfId } from "./id-time.ts";

/** Times from a job's end to its removal, in hours; 0 keeps it for ever. */
export interface JobRetention {
  /** Of jobs that are completed or cancelled: nobody has to do anything about them. */
  readonly endedHours: number;
  /** Of jobs that failed or ran out of time: somebody may want to see why, or to retry them. */
  readonly failedHours: number;
}

/** Everything is kept. */
export const KEEP_ALL: JobRetention = { endedHours: 0, failedHours: 0 };

/** A state that a job ends in. */
export type EndedState = (typeof ENDED_JOB_STATUSES)[number];

/** Jobs in this state go when they ended this long ago. */
export interface RemovalRule {
  readonly state: EndedState;
  readonly olderThanMs: number;
}

const MS_PER_HOUR = 3_600_000;
const HOURS_PER_DAY = 24;

function hoursOf(state: EndedState, retention: JobRetention): number {
  return state === "failed" || state === "timeout" ? retention.failedHours : retention.endedHours;
}

/** What is to be removed: a rule for each state whose jobs are not kept for ever. */
export function removalRules(retention: JobRetention): RemovalRule[] {
  return ENDED_JOB_STATUSES.flatMap((state) => {
    const hours = hoursOf(state, retention);
    return hours === 0 ? [] : [{ state, olderThanMs: hours * MS_PER_HOUR }];
  });
}

/** Jobs removed by one transaction at first, at least and at most. */
export const BATCH_FIRST = 100;
const BATCH_MIN = 1;
const BATCH_MAX = 1_000;
/** A batch should take less than this: while it runs, no event that was told meanwhile can be read. */
const BATCH_LONG_MS = 50;
/** One that takes less may be larger. */
const BATCH_SHORT_MS = 20;

/**
 * The size of the next batch, from what the last one took; `failed` when it did not come to its end
 * in time. Jobs differ by thousands of outputs, and disks by orders of magnitude.
 */
export function nextBatchSize(size: number, took: number | "failed"): number {
  if (took === "failed") return Math.max(BATCH_MIN, Math.floor(size / 8));
  if (took > BATCH_LONG_MS) return Math.max(BATCH_MIN, Math.floor(size / 2));
  return took < BATCH_SHORT_MS ? Math.min(BATCH_MAX, size * 2) : size;
}

/**
 * What to add to "there is no job …": that jobs are removed, when this one may have been. An id tells
 * when it was made, so a young one was never removed; a number tells nothing.
 */
export function removalHint(ref: string, nowMs: number, retention: JobRetention): string {
  const hours = [retention.endedHours, retention.failedHours].filter((one) => one > 0);
  if (hours.length === 0) return "";
  const isId = ref.startsWith("job_");
  if (isId && nowMs - timeOfId(ref) < Math.min(...hours) * MS_PER_HOUR) return "";
  const { endedHours, failedHours } = retention;
  const what =
    endedHours === 0
      ? `jobs that failed are removed ${inWords(failedHours)} after their end`
      : `completed and cancelled jobs are removed ${inWords(endedHours)} after their end`;
  const also =
    endedHours > 0 && failedHours > 0 ? `, failed ones after ${inWords(failedHours)}` : "";
  return `, or not any more: ${what}${also}`;
}

function inWords(hours: number): string {
  const isDays = hours % HOURS_PER_DAY === 0;
  const count = isDays ? hours / HOURS_PER_DAY : hours;
  return `${count} ${isDays ? "day" : "hour"}${count === 1 ? "" : "s"}`;
}
