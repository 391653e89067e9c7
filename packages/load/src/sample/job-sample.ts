/**
 * What was seen of one job of a load run. Times are ms since the run's start, with three digits.
 *
 * I1: the known times of a sample never go back: intended, begun, accepted, started, loaded, executed,
 *     ended. So phases are never negative, and where all are known they sum up to the total.
 * I2: what the target says by its own clock changes no total: intended, begun, accepted and ended are
 *     the harness's, the others are fitted in between.
 */

/** How a job ended; `refused`: never taken in. `cancelled`: by the harness, when a run was stopped. */
export const SAMPLE_OUTCOMES = [
  "completed",
  "failed",
  "timed_out",
  "cancelled",
  "refused",
] as const;
/** One of {@link SAMPLE_OUTCOMES}. */
export type SampleOutcome = (typeof SAMPLE_OUTCOMES)[number];

/** One job's sample. */
export interface JobSample {
  readonly index: number;
  readonly workflow: string;
  /** What the pace wanted when the job was meant to begin: jobs in flight, or jobs a second. */
  readonly level: number;
  /** When it was meant to begin. Latency counts from here, also where the harness was late. */
  readonly intendedMs: number;
  readonly begunMs: number;
  /** The target took it; null where it never did. */
  readonly acceptedMs: number | null;
  /** Null, as the two below, where the target does not tell. */
  readonly startedMs: number | null;
  /** Its models were in memory. */
  readonly loadedMs: number | null;
  readonly executedMs: number | null;
  /** Its outputs were there to be fetched, or it was given up. */
  readonly endedMs: number;
  readonly outcome: SampleOutcome;
  /** Null for a completed job. */
  readonly errorClass: string | null;
  readonly retries: number;
  /** Recovery changed its graph: a smaller size, another model. */
  readonly changed: boolean;
  /** Pictures. */
  readonly outputs: number;
  readonly bytes: number;
  /** Left out of the steady state. */
  readonly warmUp: boolean;
}

/** What was known of a job before it was sent. */
export type SampledJob = Pick<JobSample, "index" | "workflow" | "level" | "intendedMs" | "warmUp">;

/** What a target told of a job; times in ms of the clock that the run's start was read from. */
export interface JobObservation extends Pick<
  JobSample,
  "outcome" | "errorClass" | "retries" | "changed" | "outputs" | "bytes"
> {
  readonly begunAt: number;
  readonly acceptedAt: number | null;
  readonly startedAt: number | null;
  readonly loadedAt: number | null;
  readonly executedAt: number | null;
  readonly endedAt: number;
}

/** The sample of a job: times since the run's start at `originAt`, in order. */
export function toJobSample(job: SampledJob, seen: JobObservation, originAt: number): JobSample {
  const { index, workflow, level, warmUp } = job;
  const { outcome, errorClass, retries, changed, outputs, bytes } = seen;
  const intendedMs = threeDigits(job.intendedMs);
  const begunMs = threeDigits(Math.max(job.intendedMs, seen.begunAt - originAt));
  const after = (at: number | null, least: number): number | null =>
    at === null ? null : threeDigits(Math.max(least, at - originAt));
  const acceptedMs = after(seen.acceptedAt, begunMs);
  const endedMs = after(seen.endedAt, acceptedMs ?? begunMs) ?? begunMs;
  const within = (at: number | null, least: number): number | null => {
    const ms = after(at, least);
    return ms === null ? null : Math.min(ms, endedMs);
  };
  const startedMs = within(seen.startedAt, acceptedMs ?? begunMs);
  const loadedMs = within(seen.loadedAt, startedMs ?? acceptedMs ?? begunMs);
  const executedMs = within(seen.executedAt, loadedMs ?? startedMs ?? acceptedMs ?? begunMs);
  const times = { intendedMs, begunMs, acceptedMs, startedMs, loadedMs, executedMs, endedMs };
  const ended = { outcome, errorClass, retries, changed, outputs, bytes };
  return { index, workflow, level, ...times, ...ended, warmUp };
}

/** Thousandths are kept: more would be noise, and make files longer. */
export function threeDigits(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}
