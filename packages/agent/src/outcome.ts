import type { HistoryEntry, PromisedOutput } from "@holdfast/comfyui/protocol";
import type { AttemptOutcome, CollectedOutput, SURPLUS } from "@holdfast/contract";
import { assertNever } from "@holdfast/runtime";
import type { Collection } from "./collect.ts";
import {
  executionEvidence,
  interruptedEvidence,
  toEvidence,
  type Evidence,
  type EvidenceTiming,
} from "./evidence.ts";
import { missingEvidence } from "./verify.ts";
import { cutText } from "./wire-text.ts";

/** A failure, with what was stored before it. */
export function failed(
  evidence: Evidence,
  outputs: readonly CollectedOutput[] = [],
): AttemptOutcome {
  return { kind: "failed", evidence, outputs: [...outputs] };
}

/** Given back without having run: free of charge. */
export function released(reason: string): AttemptOutcome {
  return { kind: "released", reason: cutText(reason, 200) };
}

/** Why a lease that comes again goes back: what it was for is out of the queue already. */
export const STOPPED_UNRENEWED = "stopped when the lease could not be renewed";

/** The process that ran it is gone; what was stored before is kept for the next attempt. */
export function died(reason: string, outputs: readonly CollectedOutput[] = []): AttemptOutcome {
  return {
    kind: "instance_died",
    evidence: toEvidence("process_exit", reason),
    outputs: [...outputs],
  };
}

/** What a run with an end in the history comes to, with all collected that can be. */
export function outcomeOfRun(run: {
  readonly entry: HistoryEntry;
  readonly promised: readonly PromisedOutput[];
  readonly collection: Collection;
  readonly timing: EvidenceTiming;
  /** Of the instance, if it is gone: then what is missing is missing because of that. */
  readonly death: Death | undefined;
}): AttemptOutcome {
  const { entry, collection, timing } = run;
  const { status } = entry;
  const history = (message: string): AttemptOutcome =>
    failed(toEvidence("history", message, { timing }), collection.outputs);
  switch (status.kind) {
    case "success": {
      const evidence = missingEvidence(run.promised, entry, collection);
      if (evidence === undefined) return { kind: "succeeded", outputs: [...collection.outputs] };
      if (run.death?.isPlanned === true) return { kind: "interrupted", reason: "drain" };
      if (run.death !== undefined) return died(run.death.reason, collection.outputs);
      return failed(evidence, collection.outputs);
    }
    case "error":
      return status.error === undefined
        ? history("ComfyUI calls the run an error and says nothing of it.")
        : failed(executionEvidence(status.error, timing), collection.outputs);
    case "interrupted":
      return failed(interruptedEvidence(status.nodeId, timing), collection.outputs);
    case "unfinished":
      return history("ComfyUI's history tells of no end of this run.");
    default:
      return assertNever(status);
  }
}

/** What the end of its process makes of an attempt whose outputs are not all here. */
export function outcomeOfDeath(death: Death, hasStarted: boolean): AttemptOutcome {
  if (death.isPlanned && hasStarted) return { kind: "interrupted", reason: "drain" };
  if (death.isBlamed) return died(death.reason);
  return released(`the instance died before this began: ${death.reason}`);
}

/** A run that showed no sign for too long. */
export function stalled(facts: {
  readonly nodeId: string | null;
  readonly timing: EvidenceTiming;
  readonly isInterruptConfirmed: boolean;
  /** How far it was, 0 to 100; null when nothing was heard of it. */
  readonly percent: number | null;
  readonly outputs: readonly CollectedOutput[];
}): AttemptOutcome {
  const sinceLastSignMs = Math.round(facts.timing.sinceLastSignMs ?? 0);
  const evidence = toEvidence("stall", `No sign of progress for ${sinceLastSignMs} ms.`, {
    nodeId: facts.nodeId ?? undefined,
    timing: facts.timing,
    extra: { interruptConfirmed: facts.isInterruptConfirmed, percent: facts.percent },
  });
  return { kind: "stalled", evidence, outputs: [...facts.outputs] };
}

/** A run that took longer than the job may. */
export function tookTooLong(facts: {
  readonly limitMs: number;
  readonly nodeId: string | null;
  readonly timing: EvidenceTiming;
  readonly isInterruptConfirmed: boolean;
  /** How far it was, 0 to 100; null when nothing was heard of it. */
  readonly percent: number | null;
  readonly outputs: readonly CollectedOutput[];
}): AttemptOutcome {
  const message = `The run took longer than its limit of ${facts.limitMs} ms.`;
  const evidence = toEvidence("stall", message, {
    exceptionType: "execution_time_limit",
    nodeId: facts.nodeId ?? undefined,
    timing: facts.timing,
    extra: { interruptConfirmed: facts.isInterruptConfirmed, percent: facts.percent },
  });
  return failed(evidence, facts.outputs);
}

/** A stop or a death, as the reason of the attempt's abort signal. */
export class Ended extends Error {}

/** Numbers as JSON has them; whatever ComfyUI's clock made of the others is left out. */
export function finiteOf(timings: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(timings).filter(([, value]) => Number.isFinite(value)));
}

/**
 * Why an attempt is stopped from outside. `lost`: somebody else's now. `left`: this agent ends, the
 * next one resumes it. `displaced`: another attempt needs the instance, or the instance is not well.
 * `surplus`: staged too deep, behind one that turned out long.
 */
export type StopReason =
  "cancelled" | "displaced" | "drain" | "held" | "left" | "lost" | typeof SURPLUS;

/** The end of the process that an attempt was on. */
export interface Death {
  readonly reason: string;
  /** It ran this attempt, or was about to. */
  readonly isBlamed: boolean;
  /** We ended it ourselves: nobody's fault. */
  readonly isPlanned: boolean;
}
