/** The rung `tiled_vae`: the VAE works tile by tile, in much less memory, on nearly the same pixels (F22). */
import { nodeOf, type Graph, type GraphPatch } from "@holdfast/comfyui/protocol";

/** A patch, or why there is none. `classType`: what an instance must have to run it. */
export type Tiled =
  | { readonly kind: "tiled"; readonly patch: GraphPatch; readonly classType: string }
  | { readonly kind: "nothing"; readonly reason: string };

/** Classes and what takes their place: the same inputs and outputs, and the size of a tile besides. */
const TILED_CLASSES: Readonly<Record<string, string>> = {
  VAEDecode: "VAEDecodeTiled",
  VAEEncode: "VAEEncodeTiled",
};
/**
 * Pixels and frames, as the classes declare them (`VAEDecodeTiled` in nodes.py, 0.3.64), but for the
 * tile: a VAE that runs out of memory has tried tiles of 512 by itself (comfy/sd.py:693) before it says
 * so. A quarter of that needs a quarter of the memory.
 */
const DEFAULTS: Readonly<Record<string, number>> = {
  tile_size: 256,
  overlap: 64,
  temporal_size: 64,
  temporal_overlap: 8,
};

/**
 * Puts the tiled class in the place of the VAE node that failed. Others stay as they are: tiling
 * costs time and changes pixels, and they did not fail.
 */
export function tileVae(graph: Graph, nodeId: string): Tiled {
  const node = nodeOf(graph, nodeId);
  const isKnown = node !== undefined && Object.hasOwn(TILED_CLASSES, node.class_type);
  const classType = isKnown ? TILED_CLASSES[node.class_type] : undefined;
  if (node === undefined || classType === undefined) {
    return { kind: "nothing", reason: "The node that failed is no VAE that could work in tiles." };
  }
  const tiled = { ...node, class_type: classType, inputs: { ...DEFAULTS, ...node.inputs } };
  return { kind: "tiled", classType, patch: { set: [], putNodes: [{ nodeId, node: tiled }] } };
}
