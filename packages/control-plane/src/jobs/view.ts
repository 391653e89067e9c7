import {
  jobProgressSchema,
  type AttemptView,
  type CheckpointView,
  type JobProgress,
  type JobView,
  type OutputView,
} from "@holdfast/contract";
import { HOLD_REASON, outwardStatus, type JobWithLease } from "./model.ts";

/** An instant as the wire has it. */
export function toInstant(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

function toInstantOrNull(epochMs: number | null): string | null {
  return epochMs === null ? null : toInstant(epochMs);
}

/** How long a job is expected to take, and until when. */
export interface JobExpectation {
  readonly expectedMs: number | null;
  readonly etaSeconds: number | null;
}

/** Of a job that has ended, and of one whose shape is not known. */
export const NOTHING_EXPECTED: JobExpectation = { expectedMs: null, etaSeconds: null };

/** A job as callers see it. */
export function toJobView(
  { job, lease }: JobWithLease,
  expectation: JobExpectation = NOTHING_EXPECTED,
): JobView {
  return {
    id: job.id,
    number: job.number,
    name: job.name,
    status: outwardStatus(job),
    held: job.held,
    poison: job.poison,
    priority: job.priority,
    tags: [...job.tags],
    batchId: job.batchId,
    owner: job.owner,
    attemptCount: job.attemptCount,
    failureCount: job.failureCount,
    progress: lease === null ? null : toProgress(lease.progress),
    waitingReason: job.waitingReason ?? (job.held ? HOLD_REASON : null),
    error: job.error,
    changes: job.plan?.changes ?? null,
    outputCount: job.outputCount,
    metadata: { ...job.metadata },
    timeoutMs: job.timeoutMs,
    executionMs: job.executionMs,
    expectedMs: expectation.expectedMs,
    etaSeconds: expectation.etaSeconds,
    createdAt: toInstant(job.createdAt),
    startedAt: toInstantOrNull(job.startedAt),
    endedAt: toInstantOrNull(job.endedAt),
  };
}

/** What an agent reported last; null when it reported nothing that can be read. */
function toProgress(value: unknown): JobProgress | null {
  const parsed = jobProgressSchema.safeParse(value);
  return parsed.success ? parsed.data : null;
}

/** An attempt as the store reads it, with the name of its instance. Instants in epoch ms. */
export interface AttemptFacts extends Omit<
  AttemptView,
  "checkpoints" | "state" | "grantedAt" | "startedAt" | "endedAt"
> {
  readonly isStarted: boolean;
  readonly grantedAt: number;
  readonly startedAt: number | null;
  readonly endedAt: number | null;
}

/** A checkpoint as the store reads it. Instants in epoch ms. */
export interface CheckpointFacts extends Omit<CheckpointView, "keptUntil" | "savedAt"> {
  readonly attemptId: string;
  readonly savedAt: number;
}

/** An attempt as callers see it, with what it put away and is kept for so long. */
export function toAttemptView(
  { isStarted, ...attempt }: AttemptFacts,
  checkpoints: readonly CheckpointFacts[],
  keptMs: number,
): AttemptView {
  return {
    ...attempt,
    checkpoints: checkpoints
      .filter(({ attemptId }) => attemptId === attempt.id)
      .map(({ nodeId, sizeBytes, percent, spentMs, savedAt, problem }) => ({
        nodeId,
        sizeBytes,
        percent,
        spentMs,
        savedAt: toInstant(savedAt),
        keptUntil: toInstant(savedAt + keptMs),
        problem,
      })),
    state: attempt.outcome !== null ? "ended" : isStarted ? "running" : "staged",
    grantedAt: toInstant(attempt.grantedAt),
    startedAt: toInstantOrNull(attempt.startedAt),
    endedAt: toInstantOrNull(attempt.endedAt),
  };
}

/** Where an output's bytes are served. */
export function outputUrl(outputId: string): string {
  return `/api/v1/outputs/${outputId}/content`;
}

/** An output as callers see it. */
export function toOutputView(output: Omit<OutputView, "url">): OutputView {
  return { ...output, url: outputUrl(output.id) };
}

/** An event as callers see it: `HoldfastEvent` of the contract, whatever version wrote it. */
export interface EventView {
  readonly id: string;
  readonly at: string;
  readonly version: number;
  readonly type: string;
  readonly data: Record<string, unknown>;
}

/** An event of the outbox as callers see it. */
export function toEventView(event: {
  readonly id: string;
  readonly at: number;
  readonly version: number;
  readonly type: string;
  readonly payload: unknown;
}): EventView {
  const { payload } = event;
  const isRecord = typeof payload === "object" && payload !== null;
  return {
    id: event.id,
    at: toInstant(event.at),
    version: event.version,
    type: event.type,
    data: isRecord ? { ...payload } : {},
  };
}
