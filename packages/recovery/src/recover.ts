import { backoffMs, type Random } from "@holdfast/runtime";
import { CONNECTION_BACKOFF, fail, retry as retryWith, seconds } from "./class-decisions.ts";
import {
  hasChangingRungs,
  nextChange,
  toCustomChange,
  type ChangeRequest,
  type GraphChange,
  type SkippedRung,
} from "./graph/recipe.ts";
import { decideRetry, RECOVERIES_MAX } from "./retry.ts";
import type { RetryDecision, RetryFacts, RetryReason } from "./retry-model.ts";

/** What is decided about a job whose attempt did not finish, and the change of its graph if any. */
export interface Recovery {
  readonly decision: RetryDecision;
  /** Null when no change was asked for, or none was left. */
  readonly change: Extract<GraphChange, { kind: "changed" }> | null;
  /** Rungs that were passed over while a change was looked for, and why. */
  readonly skipped: readonly SkippedRung[];
}

/** What the change of a graph looks at beside the failure. */
export type ChangeFacts = Omit<ChangeRequest, "class" | "custom" | "maxChanges">;

/** Ends of the lossless part of a ladder: from there on only another graph can help. */
const AT_THE_END: ReadonlySet<RetryReason> = new Set(["tried_enough", "nobody_else_can_serve"]);

/**
 * Decides as {@link decideRetry} does, and where that comes to an end, whether another graph could
 * do it: in parts, in tiles, smaller. `facts` null: the graph is not known, and stays as it is.
 */
export function decideRecovery(
  retry: RetryFacts,
  facts: ChangeFacts | null,
  random: Random,
): Recovery {
  if (isCustom(retry)) return decideCustom(retry, facts, random);
  const decision = decideRetry(retry, random);
  const mayChange =
    facts !== null &&
    retry.outcome === "failed" &&
    decision.kind === "fail" &&
    AT_THE_END.has(decision.reason) &&
    retry.isRecoveryEnabled &&
    retry.maxRetryAttempts > 0 &&
    retry.earlierFailures.length < RECOVERIES_MAX &&
    hasChangingRungs(retry.error);
  if (!mayChange) return { decision, change: null, skipped: [] };
  const change = nextChange({
    ...facts,
    class: retry.error.class,
    custom: null,
    maxChanges: retry.maxRetryAttempts,
  });
  if (change.kind === "changed") return changed(change);
  const passed = change.skipped.map(({ rung, reason }) => `${rung}: ${reason}`).join(" ");
  return {
    decision: {
      ...decision,
      explain: passed === "" ? decision.explain : `${decision.explain} ${passed}`,
    },
    change: null,
    skipped: change.skipped,
  };
}

/** The retry of another graph: at once and anywhere. */
function changed(change: Extract<GraphChange, { kind: "changed" }>): Recovery {
  return {
    decision: {
      kind: "retry",
      rung: change.rung,
      delayMs: 0,
      where: "anywhere",
      avoid: [],
      extendMs: 0,
      before: "nothing",
      isFree: false,
      reason: "graph_changed",
      explain: change.explain,
    },
    change,
    skipped: change.skipped,
  };
}

/**
 * Whether an operator's pattern decides: what it says stands before the class's ladder, but not before the
 * limits of a job's time and recoveries, nor for a process that died.
 */
function isCustom(retry: RetryFacts): boolean {
  return (
    retry.outcome === "failed" &&
    retry.error.custom !== undefined &&
    retry.isRecoveryEnabled &&
    retry.time.spentMs < retry.time.limitMs
  );
}

function decideCustom(retry: RetryFacts, facts: ChangeFacts | null, random: Random): Recovery {
  const { custom, strategy } = retry.error;
  const name = `${custom?.errorType ?? ""} (pattern ${custom?.pattern ?? ""})`;
  const end = (reason: RetryReason, explain: string, skipped: readonly SkippedRung[] = []) => ({
    decision: fail(reason, explain),
    change: null,
    skipped,
  });
  if (strategy === "ABORT")
    return end("custom_pattern", `${name}: the pattern says to end the job.`);
  const most = custom?.maxRetries ?? retry.maxRetryAttempts;
  const earlier = retry.earlierFailures.filter(
    (failure) => failure.customType === custom?.errorType,
  ).length;
  if (earlier >= most) {
    return end("retries_used_up", `${name}: all ${String(most)} allowed retries were used.`);
  }
  if (retry.earlierFailures.length >= RECOVERIES_MAX) {
    return end(
      "recoveries_used_up",
      `${name}: the job was already recovered ${String(RECOVERIES_MAX)} times, the most allowed.`,
    );
  }
  const asked = toCustomChange(retry.error);
  if (facts !== null && hasChangingRungs(retry.error)) {
    const change = nextChange({
      ...facts,
      class: retry.error.class,
      custom: asked,
      maxChanges: Math.max(most, retry.maxRetryAttempts),
    });
    if (change.kind === "changed") return changed(change);
    const passed = change.skipped.map(({ rung, reason }) => `${rung}: ${reason}`).join(" ");
    return end("tried_enough", `${name}: nothing could be changed. ${passed}`, change.skipped);
  }
  return { decision: customRetry(retry, name, earlier, random), change: null, skipped: [] };
}

/** `RETRY` waits as after a lost connection; `RESUME_CHECKPOINT` goes on at once. */
function customRetry(
  facts: RetryFacts,
  name: string,
  earlier: number,
  random: Random,
): RetryDecision {
  if (facts.error.strategy === "RESUME_CHECKPOINT") {
    return retryWith({
      rung: "resume_same",
      where: facts.isInstanceAlive ? "same" : "anywhere",
      reason: "custom_pattern",
      explain: `${name}: the job resumes from what it had finished.`,
    });
  }
  const delayMs = backoffMs(CONNECTION_BACKOFF, earlier + 1, random);
  return retryWith({
    rung: "wait_and_retry",
    where: "anywhere",
    reason: "custom_pattern",
    delayMs,
    explain: `${name}: the job is tried again in ${seconds(delayMs)}.`,
  });
}
