/** What becomes of a page whose job has ended, or of which no job could be made. Pure. */
import { MAX_IMAGE_ERRORS, type ImageError, type JobError } from "@holdfast/contract";
import { toInstant } from "../access/pages.ts";
import type { Batch, StoredTrouble } from "./model.ts";

/** How a job ended. */
export interface JobEnd {
  readonly jobId: string;
  readonly state: "completed" | "failed" | "timeout" | "cancelled";
  readonly poison: boolean;
  readonly round: number;
  readonly error: JobError | null;
}

/** What a page's next state is. Instants are epoch milliseconds. */
export type PageTurn =
  | { readonly kind: "done" }
  | { readonly kind: "cancelled" }
  /** It waits for another round. */
  | {
      readonly kind: "retry";
      readonly error: ImageError;
      readonly retryCount: number;
      readonly retryAt: number;
    }
  | { readonly kind: "flagged"; readonly error: ImageError };

/** What the decisions need of a batch. */
export type RetryRules = Pick<Batch, "maxRetries" | "retryBackoffMs">;

/** The pause before the nth fresh round, from 1: the last of the list repeats. */
export function retryPauseMs(backoffMs: readonly number[], round: number): number {
  return backoffMs[Math.min(round, backoffMs.length) - 1] ?? 0;
}

/** Rounds after the first that a malformed page gets: two tries are enough to tell. */
const MALFORMED_RETRIES = 1;

/** What the end of a page's job means; null is a job that is not there any more. */
export function decideEnd(
  end: JobEnd | { readonly state: "gone"; readonly jobId: string },
  retryCount: number,
  rules: RetryRules,
  nowMs: number,
): PageTurn {
  switch (end.state) {
    case "completed":
      return { kind: "done" };
    case "cancelled":
      return { kind: "cancelled" };
    case "gone":
      return {
        kind: "flagged",
        error: {
          ...NO_CLASS,
          at: toInstant(nowMs),
          attempt: retryCount + 1,
          message: `job ${end.jobId} was removed before it had ended here`,
          job_id: end.jobId,
          final: true,
        },
      };
    case "failed":
    case "timeout": {
      const isLast = end.poison || retryCount >= roundsFor(end.error, rules);
      return turn(toImageError(end, nowMs, isLast), isLast, retryCount, rules, nowMs);
    }
  }
}

/** Fresh rounds that a failure may get: a graph that ComfyUI refuses is refused by the next round as well. */
function roundsFor(error: JobError | null, { maxRetries }: RetryRules): number {
  return error?.class === "workflow_error" ? Math.min(MALFORMED_RETRIES, maxRetries) : maxRetries;
}

/** What a refusal means: no job was made of the page. */
export function decideRefusal(
  trouble: StoredTrouble,
  retryCount: number,
  rules: RetryRules,
  nowMs: number,
): PageTurn {
  const isLast = retryCount >= Math.min(MALFORMED_RETRIES, rules.maxRetries);
  const nodeId = trouble.details?.["nodeId"];
  const error: ImageError = {
    at: toInstant(nowMs),
    attempt: retryCount + 1,
    class: "workflow_error",
    subclass: trouble.code,
    message: trouble.message,
    strategy: "ABORT",
    node_id: typeof nodeId === "string" ? nodeId : null,
    node_type: null,
    job_id: null,
    final: isLast,
  };
  return turn(error, isLast, retryCount, rules, nowMs);
}

function turn(
  error: ImageError,
  isLast: boolean,
  retryCount: number,
  rules: RetryRules,
  nowMs: number,
): PageTurn {
  if (isLast) return { kind: "flagged", error };
  const retryAt = nowMs + retryPauseMs(rules.retryBackoffMs, retryCount + 1);
  return { kind: "retry", error, retryCount: retryCount + 1, retryAt };
}

const NO_CLASS = {
  class: "unknown",
  subclass: null,
  strategy: "ABORT",
  node_id: null,
  node_type: null,
} as const;

function toImageError(end: JobEnd, nowMs: number, isLast: boolean): ImageError {
  const { error } = end;
  return {
    ...NO_CLASS,
    at: toInstant(nowMs),
    attempt: end.round,
    message: `the job ended as ${end.state}`,
    ...(error !== null && {
      class: error.class,
      subclass: error.subclass,
      message: error.message,
      strategy: error.strategy,
      node_id: error.nodeId,
      node_type: error.nodeType,
    }),
    job_id: end.jobId,
    final: isLast,
  };
}

/** The errors of a page with one more, the oldest dropped over the limit. */
export function withError(errors: readonly ImageError[], error: ImageError): readonly ImageError[] {
  return [...errors, error].slice(-MAX_IMAGE_ERRORS);
}
