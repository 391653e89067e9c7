/**
 * What a latent carries beside its numbers. `SaveLatent` writes the numbers alone and `LoadLatent`
 * gives nothing else back (nodes.py, 0.3.64): a latent whose other members somebody behind it reads
 * cannot be put away and fetched again.
 */
import { inputOf, isLink, nodeOf, type Graph, type GraphLink } from "@holdfast/comfyui/protocol";

/** A member of a LATENT beside `samples`; `unknown`: whatever a class that we do not know puts in. */
export type LatentExtra = "batch_index" | "noise_mask" | "type" | "unknown";

/** A link, seen from the node that gives it. */
export interface Consumer {
  readonly nodeId: string;
  readonly input: string;
}

const ALL: readonly LatentExtra[] = ["batch_index", "noise_mask", "type", "unknown"];
/** Samplers give a copy of the latent they took, with other numbers. */
const SAMPLERS: ReadonlySet<string> = new Set([
  "KSampler",
  "KSamplerAdvanced",
  "SamplerCustom",
  "SamplerCustomAdvanced",
]);
/** Classes that change the numbers and hand everything else on. */
const HANDS_ON: ReadonlySet<string> = new Set(["LatentUpscale", "LatentUpscaleBy"]);
/** Classes that read nothing but the numbers. */
const READS_NUMBERS: ReadonlySet<string> = new Set([
  "SaveLatent",
  "VAEDecode",
  "VAEDecodeAudio",
  "VAEDecodeTiled",
]);
/** Classes whose latent is numbers alone. */
const PLAIN = /^(?:Empty\w*Latent\w*|LoadLatent|VAEEncode(?:Tiled)?)$/;
/** Of those, the ones that say of what kind the numbers are. */
const TYPED = /Audio|Hunyuan3D/;
const ADDS: Readonly<Record<string, LatentExtra>> = {
  LatentBatch: "batch_index",
  LatentFromBatch: "batch_index",
  RepeatLatentBatch: "batch_index",
  SetLatentNoiseMask: "noise_mask",
  VAEEncodeForInpaint: "noise_mask",
};
const LATENT_INPUTS = ["latent_image", "samples", "samples1", "samples2"];

/** The members that the latent of a link may have beside its numbers. */
export function extrasCarried(graph: Graph, link: GraphLink): ReadonlySet<LatentExtra> {
  const extras = new Set<LatentExtra>();
  const seen = new Set<string>();
  const stack: string[] = [link[0]];
  for (let nodeId = stack.pop(); nodeId !== undefined; nodeId = stack.pop()) {
    const node = nodeOf(graph, nodeId);
    if (node === undefined || seen.has(nodeId)) continue;
    seen.add(nodeId);
    const { class_type: classType } = node;
    if (PLAIN.test(classType)) {
      if (TYPED.test(classType)) extras.add("type");
      continue;
    }
    const added = Object.hasOwn(ADDS, classType) ? ADDS[classType] : undefined;
    if (added !== undefined) extras.add(added);
    else if (!SAMPLERS.has(classType) && !HANDS_ON.has(classType)) {
      for (const extra of ALL) extras.add(extra);
      continue;
    }
    for (const input of LATENT_INPUTS) {
      const source = inputOf(node, input);
      if (isLink(source)) stack.push(source[0]);
    }
  }
  return extras;
}

/** The members that somebody behind a link reads, or hands on to somebody who does. */
export function extrasRead(
  graph: Graph,
  link: GraphLink,
  consumersOf: (link: GraphLink) => readonly Consumer[],
): ReadonlySet<LatentExtra> {
  const extras = new Set<LatentExtra>();
  const seen = new Set<string>();
  const stack = [...consumersOf(link)];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const node = nodeOf(graph, next.nodeId);
    if (node === undefined || seen.has(next.nodeId)) continue;
    const { class_type: classType } = node;
    if (READS_NUMBERS.has(classType)) continue;
    if (!SAMPLERS.has(classType) && !HANDS_ON.has(classType)) return new Set(ALL);
    seen.add(next.nodeId);
    if (SAMPLERS.has(classType)) {
      extras.add("noise_mask");
      // Without noise of its own it does not ask which picture of the batch gets which.
      if (inputOf(node, "add_noise") !== "disable") extras.add("batch_index");
    }
    stack.push(...consumersOf([next.nodeId, 0]), ...consumersOf([next.nodeId, 1]));
  }
  return extras;
}
