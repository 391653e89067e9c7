import type { AttemptOutcome, AttemptReport, CollectedOutput } from "@holdfast/contract";
import type { FailureEvidence } from "@holdfast/recovery";
import { assertNever } from "@holdfast/runtime";
import { downFailure, failureOfEvidence } from "../failure-kind.ts";
import {
  lastingOutputs,
  type Rendered,
  type RenderedFile,
  type RenderFacts,
  type RunFailure,
} from "../renderer.ts";

/** What an attempt's report means for the run; `pathOf` says where bytes lie. */
export function renderedOf(
  { outcome, timings }: AttemptReport,
  pathOf: (sha256: string) => string,
  seen: { readonly vramPeakBytes: number | undefined },
): Rendered {
  const { executeMs, queueMs } = timings;
  const facts: RenderFacts = {
    attempts: 1,
    loss: 0,
    recovery: [],
    ...(executeMs !== undefined && { executeMs }),
    ...(queueMs !== undefined && { queueMs }),
    ...(seen.vramPeakBytes !== undefined && { vramPeakBytes: seen.vramPeakBytes }),
  };
  const given = "outputs" in outcome ? (outcome.outputs ?? []) : [];
  const files = lastingOutputs(given).map((output) => toFile(output, pathOf));
  return { failure: failureOfOutcome(outcome), files, facts };
}

function failureOfOutcome(outcome: AttemptOutcome): RunFailure | undefined {
  switch (outcome.kind) {
    case "succeeded":
      return undefined;
    case "failed":
      return failureOfEvidence(outcome.evidence as FailureEvidence);
    case "instance_died":
      return {
        ...failureOfEvidence(outcome.evidence as FailureEvidence),
        isInfrastructure: true,
      };
    case "stalled": {
      // One that cannot be interrupted either is ComfyUI's trouble.
      const failure = failureOfEvidence(outcome.evidence as FailureEvidence);
      const isStuck = outcome.evidence["interruptConfirmed"] === false;
      return isStuck ? { ...failure, isInfrastructure: true } : failure;
    }
    case "released":
    case "interrupted":
      // It has not run, or was ended with its process: nothing is known against it.
      return downFailure(`not rendered: ${outcome.reason}`, "interrupted");
    default:
      return assertNever(outcome);
  }
}

function toFile(output: CollectedOutput, pathOf: (sha256: string) => string): RenderedFile {
  const { nodeId, name, mediaType, sha256, sizeBytes } = output;
  return { nodeId, name, mediaType, sha256, sizeBytes, path: pathOf(sha256) };
}
