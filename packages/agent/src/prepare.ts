import {
  nodeOf,
  prefixOutputs,
  promisedOutputs,
  setInput,
  validateGraph,
  type Graph,
  type ObjectInfo,
  type PromisedOutput,
} from "@holdfast/comfyui/protocol";
import type { CheckpointRequest, Lease } from "@holdfast/contract";
import { toCheckpointGraph } from "./checkpoint-graph.ts";
import { issuesEvidence, type Evidence } from "./evidence.ts";
import { attemptPrefix } from "./output-name.ts";
import { placeInput, renameInput, type PlaceDeps } from "./place-input.ts";

/** A graph made ready for one attempt, or why it cannot be. */
export type Prepared =
  | {
      readonly kind: "ready";
      readonly graph: Graph;
      readonly promised: readonly PromisedOutput[];
      /** What it goes on from, and what it could not use. */
      readonly checkpoints: Pick<CheckpointRequest, "resumedFrom" | "unusable">;
    }
  | { readonly kind: "failed"; readonly evidence: Evidence };

/** Input that makes an output node run again although everything before it is cached. */
const FRESHNESS_INPUT = "holdfast_attempt";

/**
 * Brings a lease's inputs to the instance and rewrites its graph: inputs by hash, output prefixes of
 * the attempt's own (F16). Then looks at it as ComfyUI will, to refuse in better words (F3, F5).
 */
export async function prepare(
  lease: Lease,
  objectInfo: ObjectInfo,
  deps: PlaceDeps,
): Promise<Prepared> {
  // The control plane has parsed it before it was stored.
  const original = lease.graph as Graph;
  const promised = promisedOutputs(original, objectInfo);
  const ids = promised.map(({ nodeId }) => nodeId);
  const run = await toCheckpointGraph(lease, ids, objectInfo, deps);
  if (run.kind === "failed") return run;
  let graph = rewriteOutputs(run.graph, lease.attemptId, promised);
  for (const input of lease.inputs) {
    // Only what is not run again reads it.
    if (nodeOf(graph, input.nodeId) === undefined) continue;
    const placed = await placeInput(input, deps);
    if (placed.kind !== "placed") return placed;
    graph = renameInput(graph, input, placed.reference);
  }
  const issues = validateGraph(graph, objectInfo).filter((issue) => issue.isCertain);
  // Any output that would be dropped is a failure (F2), so one certain issue is enough.
  if (issues.length > 0) return { kind: "failed", evidence: issuesEvidence(issues) };
  const checkpoints = { resumedFrom: [...run.resumedFrom], unusable: run.unusable };
  return { kind: "ready", graph, promised, checkpoints };
}

/**
 * The graph with names of this attempt's own. An output node without a prefix (`PreviewImage`) gets
 * an input that ComfyUI ignores but counts among those its cache goes by
 * (`get_immediate_node_signature` in comfy_execution/caching.py, 0.3.64): it runs again, and never
 * names a file that somebody has deleted meanwhile.
 */
export function rewriteOutputs(
  graph: Graph,
  attemptId: string,
  promised: readonly PromisedOutput[],
): Graph {
  const { graph: prefixed, prefixed: named } = prefixOutputs(graph, attemptPrefix(attemptId));
  const done = new Set(named);
  return promised
    .filter((output) => !done.has(output.nodeId))
    .reduce<Graph>(
      (result, { nodeId }) => setInput(result, nodeId, FRESHNESS_INPUT, attemptId),
      prefixed,
    );
}
