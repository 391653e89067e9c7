/** Where a job's time went. */
import { threeDigits, type JobSample } from "./job-sample.ts";

/** Phases of a job in their order, and their sum. `harness`: the driver was late. */
export const PHASES = [
  "harness",
  "submit",
  "queue",
  "model_load",
  "execute",
  "collect",
  "total",
] as const;
/** One of {@link PHASES}. */
export type Phase = (typeof PHASES)[number];

/** ms a phase; null where the target does not tell. */
export type PhaseTimes = Readonly<Record<Phase, number | null>>;

/**
 * The phases of a sample. Where loading is not told, `execute` has it in it; where the start is not told,
 * what lies before the execution's end cannot be told apart, and is null.
 */
export function phasesOf(sample: JobSample): PhaseTimes {
  const { intendedMs, begunMs, acceptedMs, startedMs, loadedMs, executedMs, endedMs } = sample;
  return {
    harness: between(intendedMs, begunMs),
    submit: between(begunMs, acceptedMs),
    queue: between(acceptedMs, startedMs),
    model_load: between(startedMs, loadedMs),
    execute: between(loadedMs ?? startedMs, executedMs),
    collect: between(executedMs, endedMs),
    total: between(intendedMs, endedMs),
  };
}

function between(from: number | null, until: number | null): number | null {
  return from === null || until === null ? null : threeDigits(until - from);
}
