/** The rung `tiled_vae`: the VAE works tile by tile, in much less memory, on nearly the same pixels (F22). */
import {
  classInfo,
  inputSpec,
  nodeOf,
  type Graph,
  type GraphPatch,
  type ObjectInfo,
} from "@holdfast/comfyui/protocol";

/** A patch, or why there is none. */
export type Tiled =
  | { readonly kind: "tiled"; readonly patch: GraphPatch; readonly classType: string }
  | { readonly kind: "nothing"; readonly reason: string };

/** Classes and what takes their place: the same inputs and outputs, and the size of a tile besides. */
const TILED_CLASSES: Readonly<Record<string, string>> = {
  VAEDecode: "VAEDecodeTiled",
  VAEEncode: "VAEEncodeTiled",
};
/** Pixels and frames, where the class declares no default (`VAEDecodeTiled` in nodes.py, 0.3.64). */
const DEFAULTS: Readonly<Record<string, number>> = {
  tile_size: 512,
  overlap: 64,
  temporal_size: 64,
  temporal_overlap: 8,
};

/**
 * Puts the tiled class in the place of the VAE node that failed. Others stay as they are: tiling
 * costs time and changes pixels, and they did not fail. Works where the instance has the class; what it
 * takes is guessed where that is not known.
 */
export function tileVae(graph: Graph, nodeId: string, objectInfo?: ObjectInfo): Tiled {
  const node = nodeOf(graph, nodeId);
  const classType = node === undefined ? undefined : own(TILED_CLASSES, node.class_type);
  if (node === undefined || classType === undefined) {
    return { kind: "nothing", reason: "The node that failed is no VAE that could work in tiles." };
  }
  const info = objectInfo === undefined ? undefined : classInfo(objectInfo, classType);
  if (objectInfo !== undefined && info === undefined) {
    return { kind: "nothing", reason: `No instance in question has ${classType}.` };
  }
  const inputs: Record<string, unknown> = { ...node.inputs };
  for (const input of Object.keys(info?.input.required ?? DEFAULTS)) {
    if (input in inputs) continue;
    const declared = info === undefined ? undefined : inputSpec(info, input)?.[1]?.["default"];
    const value = declared ?? DEFAULTS[input];
    if (value === undefined) {
      return {
        kind: "nothing",
        reason: `${classType} needs ${input}, and says no default for it.`,
      };
    }
    inputs[input] = value;
  }
  const replaced = { ...node, class_type: classType, inputs };
  return { kind: "tiled", classType, patch: { set: [], putNodes: [{ nodeId, node: replaced }] } };
}

function own<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}
