import {
  applyPatch,
  classInfo,
  nodeOf,
  type Graph,
  type GraphPatch,
  type ObjectInfo,
} from "@holdfast/comfyui/protocol";
import type { CheckpointRequest, Lease, LeaseResume } from "@holdfast/contract";
import type { Evidence } from "./evidence.ts";
import { placeInput, renameInput, type PlaceDeps } from "./place-input.ts";

/** A graph with what a lease says of checkpoints in it. */
export type CheckpointGraph =
  | {
      readonly kind: "ready";
      readonly graph: Graph;
      /** Keys of the latents that it goes on from; empty: it begins at the beginning. */
      readonly resumedFrom: readonly string[];
      readonly unusable: CheckpointRequest["unusable"];
    }
  | { readonly kind: "failed"; readonly evidence: Evidence };

const SAVE_CLASS = "SaveLatent";
const LOAD_CLASS = "LoadLatent";

/**
 * Places the latents that an attempt may go on from, and adds the nodes that save its own. What
 * cannot be done is left out: a latent that the store has lost, an instance without the classes, a
 * graph that would not give every promised output (P3). Then the lease's graph runs from its
 * beginning.
 */
export async function toCheckpointGraph(
  lease: Lease,
  promisedIds: readonly string[],
  objectInfo: ObjectInfo,
  deps: PlaceDeps,
): Promise<CheckpointGraph> {
  const whole = lease.graph as Graph;
  const has = (classType: string): boolean => classInfo(objectInfo, classType) !== undefined;
  const withSavers = (graph: Graph): Graph => {
    if (!has(SAVE_CLASS)) return graph;
    const nodes = (lease.checkpoints ?? []).filter(({ ofNodeId }) => nodeOf(graph, ofNodeId));
    return { ...graph, ...Object.fromEntries(nodes.map(({ nodeId, node }) => [nodeId, node])) };
  };
  const { resume } = lease;
  const resumed = resume === undefined ? whole : applyPatch(whole, toPatch(resume.patch));
  const isWhole = promisedIds.every((nodeId) => nodeOf(resumed, nodeId) !== undefined);
  if (resume === undefined || !isWhole || !has(LOAD_CLASS)) {
    return { kind: "ready", graph: withSavers(whole), resumedFrom: [], unusable: [] };
  }
  let graph = resumed;
  for (const file of resume.files) {
    const placed = await placeInput(file, deps);
    if (placed.kind === "placed") {
      graph = renameInput(graph, file, placed.reference);
      continue;
    }
    // Not the latent's fault, and the job's own inputs would not come through either.
    if (placed.evidence.channel === "connection") return placed;
    const { key, nodeId } = file;
    const unusable = [{ key, nodeId, reason: placed.evidence.message.slice(0, REASON_MAX) }];
    return { kind: "ready", graph: withSavers(whole), resumedFrom: [], unusable };
  }
  const resumedFrom = resume.files.map(({ key }) => key);
  return { kind: "ready", graph: withSavers(graph), resumedFrom, unusable: [] };
}

/** The patch without members that are undefined. */
function toPatch({ set, unset, putNodes, removeNodes }: LeaseResume["patch"]): GraphPatch {
  return {
    set,
    ...(unset !== undefined && { unset }),
    ...(putNodes !== undefined && { putNodes }),
    ...(removeNodes !== undefined && { removeNodes }),
  };
}

/** Longest words about a latent that is of no use. */
export const REASON_MAX = 500;
