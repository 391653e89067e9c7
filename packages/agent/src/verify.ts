import type { HistoryEntry, PromisedOutput } from "@holdfast/comfyui/protocol";
import type { Collection } from "./collect.ts";
import { toEvidence, type Evidence } from "./evidence.ts";

/**
 * Whether a run that calls itself a success gave all that its graph promised (P3): ComfyUI ran every
 * promised output (F2), each that makes files gave one, and every named file could be had (F16).
 * Undefined when nothing is missing.
 */
export function missingEvidence(
  promised: readonly PromisedOutput[],
  entry: HistoryEntry | undefined,
  collection: Collection,
): Evidence | undefined {
  const { missing, givenNodes } = collection;
  const [first] = missing;
  if (first !== undefined) {
    return toEvidence(
      "collection",
      `Output ${first.name} of node ${first.nodeId}: ${first.reason}.`,
      {
        nodeId: first.nodeId,
        nodeType: promised.find((output) => output.nodeId === first.nodeId)?.classType,
        extra: { missing: missing.slice(0, MISSING_TOLD) },
      },
    );
  }
  for (const output of promised) {
    const facts = { nodeId: output.nodeId, nodeType: output.classType };
    if (entry?.executedOutputs?.includes(output.nodeId) === false) {
      return toEvidence(
        "collection",
        `ComfyUI dropped node ${output.nodeId} (${output.classType}) and called the run a success.`,
        facts,
      );
    }
    const mustGive = output.kind !== "any" || output.classType === PIXELS_OVER_SOCKET;
    if (mustGive && !givenNodes.has(output.nodeId)) {
      return toEvidence(
        "collection",
        `Node ${output.nodeId} (${output.classType}) gave no output although the run succeeded.`,
        facts,
      );
    }
  }
  return undefined;
}

/** The class whose pictures come over the socket and are in no file (nodes `websocket_image_save.py`). */
export const PIXELS_OVER_SOCKET = "SaveImageWebsocket";

const MISSING_TOLD = 20;
