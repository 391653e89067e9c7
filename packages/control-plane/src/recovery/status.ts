/** A job in the words of the error recovery API. Pure. */
import { assertNever } from "@holdfast/runtime";
import type { JobView, OutputView, RecoveryStatus } from "@holdfast/contract";
import type { SamplingParameters } from "@holdfast/recovery";
import type { Job } from "../jobs/model.ts";
import type { CheckpointFacts, RecoveryStepFacts } from "./model.ts";

/** Where a job keeps what it was submitted with, among its metadata. */
export const METADATA_KEY = "error_recovery";

/** What a status is made from. */
export interface StatusFacts {
  readonly job: Pick<Job, "round" | "recoveryCount" | "metadata">;
  readonly view: JobView;
  readonly steps: readonly RecoveryStepFacts[];
  readonly outputs: readonly OutputView[];
  readonly saved: { readonly count: number; readonly newest: CheckpointFacts | null };
  /** Of the graph as it was submitted, and as it runs now. */
  readonly submitted: SamplingParameters;
  readonly running: SamplingParameters;
}

/** The answer to a question for a job's status. */
export function toRecoveryStatus(facts: StatusFacts): RecoveryStatus {
  const { job, view, steps, outputs } = facts;
  const kept = keptWith(job.metadata);
  return {
    success: true,
    job_id: view.number,
    data: {
      status: view.status,
      // A history may have been removed; the job's own count of this round stays.
      retry_count: Math.max(steps.length, job.recoveryCount) + job.round - 1,
      recovery_history: steps.map(toStep),
      recovery_status: {
        total_attempts: steps.length,
        successful_attempts: steps.filter((step) => step.recovered).length,
        available_checkpoints: outputs.length + facts.saved.count,
      },
      id: view.id,
      job_type: kept.jobType,
      original_parameters: { ...facts.submitted, ...kept.parameters },
      parameters: { ...facts.running },
      last_checkpoint: toLastCheckpoint(facts.saved.newest, outputs),
      progress: progressOf(view),
      output_files: outputs.map(({ url }) => url),
      error: view.error,
      error_message: view.error?.message ?? null,
      held: view.held,
      waiting_reason: view.waitingReason,
      created_at: view.createdAt,
      started_at: view.startedAt,
      ended_at: view.endedAt,
    },
  };
}

function toLastCheckpoint(
  newest: CheckpointFacts | null,
  outputs: readonly OutputView[],
): RecoveryStatus["data"]["last_checkpoint"] {
  if (newest === null) return null;
  return {
    progress: newest.percent,
    node_id: newest.nodeId,
    attempt: newest.attemptNumber,
    size_bytes: newest.sizeBytes,
    saved_seconds: newest.savedMs / 1_000,
    output_files: outputs.map(({ url }) => url),
    created_at: new Date(newest.createdAt).toISOString(),
  };
}

function toStep(step: RecoveryStepFacts): RecoveryStatus["data"]["recovery_history"][number] {
  return {
    attempt: step.attempt,
    message: `${doneBy(step)} for ${step.errorClass}`,
    success: step.recovered,
    timestamp: new Date(step.endedAt).toISOString(),
    error_type: step.errorClass,
    strategy: step.strategy,
    details: step.explain,
  };
}

/** What was done, by rung or rule. Those that are not named here speak by their strategy. */
const DONE: Readonly<Record<string, string>> = {
  after_crash: "Started again",
  after_foreign_interrupt: "Started again",
  after_stall: "Started again",
  elsewhere: "Moved to another instance",
  fetch_first: "Fetched the model",
  fetch_model: "Fetched the model",
  free_memory: "Freed memory",
  free_memory_first: "Freed memory",
  instance_with_model: "Moved to an instance that has the model",
  longer_limit: "Gave more time",
  more_ram: "Moved to a machine with more memory",
  more_vram: "Moved to a card with more memory",
  once_more: "Retried",
  reduce_params: "Reduced parameters",
  restart_first: "Restarted the instance",
  restart_instance: "Restarted the instance",
  resume_elsewhere: "Resumed from checkpoint",
  resume_same: "Resumed from checkpoint",
  same_model_other_name: "Used the same model under another name",
  split_batch: "Split the batch",
  switch_model: "Switched model",
  tiled_vae: "Decoded in tiles",
  try_elsewhere: "Moved to another instance",
  upload_input_again: "Uploaded the input again",
  wait_and_retry: "Waited and retried",
  wait_for_connection: "Waited and retried",
  wait_for_file_lock: "Waited and retried",
};
const BY_STRATEGY: Readonly<Record<string, string>> = {
  REDUCE_PARAMS: "Reduced parameters",
  RESUME_CHECKPOINT: "Resumed from checkpoint",
  SWITCH_MODEL: "Switched model",
};
/** A decision that names no rung tells what it changed in its own words. */
const BY_WORDS: readonly (readonly [words: RegExp, done: string])[] = [
  [/^Reduced parameters\b/, "Reduced parameters"],
  [/\bin tiles\b/, "Decoded in tiles"],
  [/\b(?:parts|batch)\b/, "Split the batch"],
];

function doneBy({ rung, strategy, explain }: RecoveryStepFacts): string {
  const byRung = Object.hasOwn(DONE, rung) ? DONE[rung] : undefined;
  if (byRung !== undefined) return byRung;
  const byWords =
    rung === "graph_changed" ? BY_WORDS.find(([words]) => words.test(explain))?.[1] : undefined;
  return byWords ?? BY_STRATEGY[strategy] ?? "Retried";
}

/** Percent done: nothing is nearly done that has not begun. */
function progressOf(view: JobView): number {
  switch (view.status) {
    case "completed":
      return 100;
    case "processing":
      return view.progress?.percent ?? 0;
    case "queued":
    case "recovering":
    case "failed":
    case "timeout":
    case "cancelled":
      return 0;
    default:
      return assertNever(view.status);
  }
}

function keptWith(metadata: Job["metadata"]): {
  readonly jobType: string | null;
  readonly parameters: Readonly<Record<string, unknown>>;
} {
  const kept = asRecord(metadata[METADATA_KEY]);
  const jobType = kept["job_type"];
  return {
    jobType: typeof jobType === "string" ? jobType : null,
    parameters: asRecord(kept["parameters"]),
  };
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}
