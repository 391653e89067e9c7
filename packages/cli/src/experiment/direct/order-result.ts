import type { AttemptOutcome, AttemptReport, CollectedOutput } from "@holdfast/contract";
import type { EvidenceChannel, FailureEvidence } from "@holdfast/recovery";
import { assertNever } from "@holdfast/runtime";
import { downFailure, failureOfEvidence } from "../failure-kind.ts";
import {
  lastingOutputs,
  type Rendered,
  type RenderedFile,
  type RenderFacts,
  type RunFailure,
} from "../renderer.ts";
import { deathWords, releaseWords } from "./failure-words.ts";

/** What we saw of an order beside its report. */
export interface SeenOfOrder {
  readonly vramPeakBytes: number | undefined;
  /** Its prompt was posted by another process. */
  readonly isFound: boolean;
  /** When ComfyUI says that it ended, if it had before we looked. In epoch ms. */
  readonly endedAt: number | undefined;
  /** Why ComfyUI is not well, if it is not. */
  readonly health: string | undefined;
}

/** What an attempt's report means for the run; `pathOf` says where bytes lie. */
export function renderedOf(
  { outcome, timings }: AttemptReport,
  pathOf: (sha256: string) => string,
  { vramPeakBytes, isFound, endedAt, health }: SeenOfOrder,
): Rendered {
  const { executeMs, queueMs } = timings;
  const facts: RenderFacts = {
    attempts: 1,
    loss: 0,
    recovery: [],
    ...(executeMs !== undefined && hasToldEnd(outcome) && { executeMs }),
    // Of one that was found it would be the time since we looked.
    ...(queueMs !== undefined && !isFound && { queueMs }),
    ...(vramPeakBytes !== undefined && { vramPeakBytes }),
    ...(endedAt !== undefined && { span: { endedAt } }),
  };
  const given = "outputs" in outcome ? (outcome.outputs ?? []) : [];
  const files = lastingOutputs(given).map((output) => toFile(output, pathOf));
  return { failure: failureOfOutcome(outcome, health), files, facts };
}

/** Channels of failures that came after ComfyUI had told the end of the run. */
const AFTER_THE_END: ReadonlySet<EvidenceChannel> = new Set(["collection", "execution", "store"]);

/** Whether ComfyUI told how long it ran: until we gave it up is another time. */
function hasToldEnd(outcome: AttemptOutcome): boolean {
  if (outcome.kind === "succeeded") return true;
  if (outcome.kind !== "failed" && outcome.kind !== "stalled") return false;
  const evidence = outcome.evidence as FailureEvidence;
  return AFTER_THE_END.has(evidence.channel) || isInterruptConfirmed(evidence) === true;
}

/** Of a run that was interrupted for its time; undefined for any other. */
function isInterruptConfirmed({ channel, extra }: FailureEvidence): boolean | undefined {
  return channel === "stall" ? extra?.["interruptConfirmed"] === true : undefined;
}

function failureOfOutcome(
  outcome: AttemptOutcome,
  health: string | undefined,
): RunFailure | undefined {
  switch (outcome.kind) {
    case "succeeded":
      return undefined;
    case "instance_died": {
      const failure = failureOfEvidence(outcome.evidence as FailureEvidence);
      return { ...failure, message: deathWords(failure.message), isInfrastructure: true };
    }
    case "failed":
    case "stalled": {
      const evidence = outcome.evidence as FailureEvidence;
      const failure = failureOfEvidence(evidence);
      // One that cannot be interrupted either is ComfyUI's trouble.
      const isStuck = isInterruptConfirmed(evidence) === false;
      return isStuck ? { ...failure, isInfrastructure: true } : failure;
    }
    // It has not run, or was ended with its process: nothing is known against it.
    case "released":
      return downFailure(releaseWords(outcome.reason, health), "interrupted");
    case "interrupted":
      return downFailure("the run was interrupted before it ended", "interrupted");
    default:
      return assertNever(outcome);
  }
}

function toFile(output: CollectedOutput, pathOf: (sha256: string) => string): RenderedFile {
  const { nodeId, name, mediaType, sha256, sizeBytes } = output;
  return { nodeId, name, mediaType, sha256, sizeBytes, path: pathOf(sha256) };
}
