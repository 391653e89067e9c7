/** The nodes that put a run's latents away, to be added to the graph of an attempt. */
import { nodeOf, type Graph, type GraphLink, type GraphNode } from "@holdfast/comfyui/protocol";
import type { CheckpointSite } from "./checkpoint-sites.ts";

/** A node to add beside a graph's own, and what it saves. */
export interface CheckpointNode {
  readonly nodeId: string;
  readonly node: GraphNode;
  /** See {@link CheckpointSite.key}. */
  readonly key: string;
  readonly source: GraphLink;
}

/** The class that saves a latent, and the one that loads it. */
export const SAVE_CLASS = "SaveLatent";
export const LOAD_CLASS = "LoadLatent";

/** Folder of checkpoint files below the attempt's own, so that they meet no output. */
const FOLDER = "checkpoint";
const NAME_LENGTH = 16;

/**
 * One node for each site. Their ids are free in the graph, and the same at every call; they say which
 * node they belong to: `checkpoint:3:0` saves output 0 of node 3.
 */
export function checkpointNodes(
  graph: Graph,
  sites: readonly CheckpointSite[],
): readonly CheckpointNode[] {
  return sites.map(({ source, key }) => ({
    nodeId: freeId(graph, `checkpoint:${source[0]}:${String(source[1])}`),
    node: {
      class_type: SAVE_CLASS,
      inputs: { samples: source, filename_prefix: `${FOLDER}/${key.slice(0, NAME_LENGTH)}` },
    },
    key,
    source,
  }));
}

/** `base`, or the first of `base_2`, `base_3`, … that no node of the graph has. */
export function freeId(graph: Graph, base: string): string {
  let id = base;
  for (let n = 2; nodeOf(graph, id) !== undefined; n += 1) id = `${base}_${String(n)}`;
  return id;
}
