/**
 * Lines of `comfyui_metrics.ndjson`, to which a run adds while it goes on: one JSON object a line, several
 * runs in one file, each line with its run's start.
 */
import type { GpuSample } from "../sample/gpu-sample.ts";
import type { JobSample } from "../sample/job-sample.ts";
import { phasesOf } from "../sample/phases.ts";

/** A job that ended, its line's end included. `startedAt`: of the run, epoch ms. */
export function jobMetricsLine(startedAt: number, sample: JobSample): string {
  const { index, workflow, level, outcome, errorClass } = sample;
  const { retries, changed, outputs, bytes, warmUp } = sample;
  const ended = { outcome, errorClass, retries, changed, outputs, bytes, warmUp };
  const phasesMs = phasesOf(sample);
  return line(startedAt, sample.endedMs, "job", { index, workflow, level, ...ended, phasesMs });
}

/** A look at a card, its line's end included. */
export function gpuMetricsLine(startedAt: number, sample: GpuSample): string {
  const { atMs, ...rest } = sample;
  return line(startedAt, atMs, "gpu", rest);
}

function line(startedAt: number, atMs: number, type: "job" | "gpu", facts: object): string {
  const at = new Date(startedAt + atMs).toISOString();
  const run = new Date(startedAt).toISOString();
  return `${JSON.stringify({ at, run, type, ...facts })}\n`;
}
