import type { Random } from "@holdfast/runtime";
import {
  hasChangingRungs,
  nextChange,
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
export type ChangeFacts = Omit<ChangeRequest, "class" | "maxChanges">;

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
  const decision = decideRetry(retry, random);
  const mayChange =
    facts !== null &&
    retry.outcome === "failed" &&
    decision.kind === "fail" &&
    AT_THE_END.has(decision.reason) &&
    retry.isRecoveryEnabled &&
    retry.maxRetryAttempts > 0 &&
    retry.earlierFailures.length < RECOVERIES_MAX &&
    hasChangingRungs(retry.error.class);
  if (!mayChange) return { decision, change: null, skipped: [] };
  const change = nextChange({
    ...facts,
    class: retry.error.class,
    maxChanges: retry.maxRetryAttempts,
  });
  if (change.kind === "none") {
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
  return {
    decision: {
      kind: "retry",
      delayMs: 0,
      rung: change.rung,
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
