/**
 * When a run ends before its time: its cards are full, or too much of it fails. More load would then
 * measure the queue alone.
 *
 * I1: one look at a card or one failed job stops nothing: utilisation jumps, and a picture may fail.
 * I2: a rule that held once holds for ever; the first one counts.
 */
import type { GpuSample } from "../sample/gpu-sample.ts";
import type { JobSample } from "../sample/job-sample.ts";

/** What a run is stopped by; null is never. */
export interface StopLimits {
  /** Use of the busiest card, percent. */
  readonly gpuPercent: number | null;
  /** Share of jobs that did not complete, percent. */
  readonly errorPercent: number | null;
}

/** Why a run is stopped. */
export type StopReason =
  | { readonly kind: "gpu"; readonly gpu: number; readonly utilisationPercent: number }
  | { readonly kind: "errors"; readonly failed: number; readonly of: number };

/** Takes what is seen of a run, and says when it is to end. */
export interface StopRules {
  addGpu(sample: GpuSample): void;
  addJob(sample: JobSample): void;
  /** Null while it may go on. */
  reason(): StopReason | null;
}

/** Looks at one card that its mean is taken of. */
export const STOP_GPU_LOOKS = 10;
/** Jobs that ended last: a ramp's good beginning must not hide its end. */
export const STOP_JOBS_WINDOW = 100;
/** Fewer failures than this are chance. */
const FAILED_MIN = 3;
/** Cards that are watched. */
const GPUS_MAX = 64;

/** Everything that is wrong with limits; empty for sound ones. */
export function stopLimitProblems({ gpuPercent, errorPercent }: StopLimits): readonly string[] {
  const problems: string[] = [];
  if (gpuPercent !== null && !(gpuPercent > 0 && gpuPercent <= 100)) {
    problems.push(`use of a card to stop at: expected over 0 to 100 percent, found ${gpuPercent}`);
  }
  if (errorPercent !== null && !(errorPercent >= 0 && errorPercent <= 100)) {
    problems.push(`errors to stop at: expected 0 to 100 percent, found ${errorPercent}`);
  }
  return problems;
}

/** Nothing seen yet. */
export function createStopRules({ gpuPercent, errorPercent }: StopLimits): StopRules {
  const looks = new Map<number, number[]>();
  /** Of the jobs that ended last: whether each failed. */
  const ends: boolean[] = [];
  let stopped: StopReason | null = null;
  return {
    addGpu({ gpu, utilisationPercent }) {
      if (stopped !== null || gpuPercent === null || utilisationPercent === null) return;
      if (!looks.has(gpu) && looks.size >= GPUS_MAX) return;
      const last = [...(looks.get(gpu) ?? []), utilisationPercent].slice(-STOP_GPU_LOOKS);
      looks.set(gpu, last);
      const mean = last.reduce((sum, value) => sum + value, 0) / last.length;
      if (last.length === STOP_GPU_LOOKS && mean >= gpuPercent) {
        stopped = { kind: "gpu", gpu, utilisationPercent: mean };
      }
    },
    addJob({ outcome }) {
      if (stopped !== null || errorPercent === null || outcome === "cancelled") return;
      ends.push(outcome !== "completed");
      if (ends.length > STOP_JOBS_WINDOW) ends.shift();
      const failed = ends.filter((isFailure) => isFailure).length;
      if (failed >= FAILED_MIN && failed > (errorPercent / 100) * ends.length) {
        stopped = { kind: "errors", failed, of: ends.length };
      }
    },
    reason: () => stopped,
  };
}
