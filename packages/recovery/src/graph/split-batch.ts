/**
 * The rung `split_batch`: a batch is rendered in parts inside one prompt, and the pictures are put back
 * together in order before they are saved. The parts run one after the other, so only one is in VRAM.
 */
import {
  ancestorsOf,
  dependentsOf,
  diffGraph,
  inputOf,
  isLink,
  links,
  nodeOf,
  promisedOutputs,
  relinkNode,
  topologicalOrder,
  type Graph,
  type GraphLink,
  type GraphNode,
  type GraphPatch,
} from "@holdfast/comfyui/protocol";
import { findSites, type Site } from "./sites.ts";

/** What splitting came to. */
export type Split =
  | {
      readonly kind: "split";
      readonly patch: GraphPatch;
      readonly parts: number;
      /** The same pixels as in one piece (F20); else other pictures of the same prompt. */
      readonly isIdentical: boolean;
      /** Why they are not, in words. */
      readonly notIdentical: string | null;
    }
  | { readonly kind: "nothing"; readonly reason: string };

/**
 * Classes that treat each picture of a batch by itself, with the type they give. Whatever else stands
 * between the latent and the output might look across the batch.
 */
const ONE_BY_ONE: Readonly<Record<string, "IMAGE" | "LATENT">> = {
  ImageBlur: "IMAGE",
  ImageInvert: "IMAGE",
  ImageScale: "IMAGE",
  ImageScaleBy: "IMAGE",
  ImageSharpen: "IMAGE",
  ImageUpscaleWithModel: "IMAGE",
  KSampler: "LATENT",
  KSamplerAdvanced: "LATENT",
  LatentUpscale: "LATENT",
  LatentUpscaleBy: "LATENT",
  SamplerCustom: "LATENT",
  SamplerCustomAdvanced: "LATENT",
  VAEDecode: "IMAGE",
  VAEDecodeTiled: "IMAGE",
};
/**
 * Classes that may stand before a sampler without looking at the batch: everything else (motion models,
 * hints and masks of one picture each, prompts that change from picture to picture) might.
 */
const SAME_FOR_ALL =
  /^(?:BasicGuider|CFGGuider|CLIPSetLastLayer|CLIPTextEncode\w*|Conditioning(?:Average|Combine|Concat|SetArea\w*|SetTimestepRange|ZeroOut)|FlipSigmas|FluxGuidance|KSamplerSelect|LoraLoader(?:ModelOnly)?|ModelSampling\w*|Primitive\w*|RandomNoise|SplitSigmas\w*|\w*Scheduler|(?:Checkpoint|CLIP|DualCLIP|QuadrupleCLIP|TripleCLIP|UNET|UpscaleModel|VAE)Loader(?:Simple)?)$/;
/** Classes that make the latents of a batch from nothing: how many there are stands in the node. */
const MAKES_EMPTY = /^Empty\w*Latent\w*$/;
const JOINS = {
  IMAGE: { class_type: "ImageBatch", inputs: ["image1", "image2"] },
  LATENT: { class_type: "LatentBatch", inputs: ["samples1", "samples2"] },
} as const;
/** Samplers whose every step is a function of the latent alone: no noise, no norm over the batch. */
const STEADY_SAMPLERS: ReadonlySet<string> = new Set([
  "ddim",
  "deis",
  "dpm_2",
  "dpmpp_2m",
  "euler",
  "heun",
  "heunpp2",
  "ipndm",
  "ipndm_v",
  "lms",
  "uni_pc",
  "uni_pc_bh2",
]);
const LATENT_INPUTS: ReadonlySet<string> = new Set(["latent_image", "samples"]);
/** Largest number of parts: each repeats every node between latent and output. */
const MAX_PARTS = 64;
/** Elements of one latent must be a multiple of this for equal noise (F20). */
const NOISE_BLOCK = 16;
const PIXELS_PER_LATENT = 8;
/** The least that a latent has; with more the condition is easier to meet. */
const LEAST_CHANNELS = 4;

/** Splits the graph's only batch into parts of at most `partSize` pictures. */
export function splitBatch(graph: Graph, partSize: number): Split {
  const sites = findSites(graph);
  const batches = sites.filter((site) => site.role === "batch" && site.value > 1);
  const [batch] = batches;
  const maker = batch === undefined ? undefined : nodeOf(graph, batch.nodeId);
  if (batch === undefined) return nothing("The graph renders one picture at a time.");
  if (batches.length > 1) return nothing("The graph has several batches.");
  if (partSize < 1 || partSize >= batch.value)
    return nothing("The batch is no larger than a part.");
  const parts = Math.ceil(batch.value / partSize);
  if (parts > MAX_PARTS)
    return nothing(`The batch would be in more than ${String(MAX_PARTS)} parts.`);
  if (sites.some((site) => site.role === "frames")) {
    return nothing("Frames of a video belong together.");
  }
  if (maker === undefined || !MAKES_EMPTY.test(batch.classType)) {
    return nothing(
      `How many pictures node ${batch.nodeId} (${batch.classType}) gives is not known.`,
    );
  }
  if (!givesLatentOnly(graph, batch.nodeId)) {
    return nothing(`Node ${batch.nodeId} (${batch.classType}) gives more than a latent.`);
  }
  const region = findRegion(graph, batch);
  if (region.kind === "nothing") return region;
  const split = build(graph, batch, region.nodeIds, partSize);
  const notIdentical = whyNotIdentical(graph, batch.nodeId, sites, region.nodeIds);
  return {
    kind: "split",
    patch: diffGraph(graph, split),
    parts,
    isIdentical: notIdentical === null,
    notIdentical,
  };
}

function nothing(reason: string): Extract<Split, { kind: "nothing" }> {
  return { kind: "nothing", reason };
}

/** Whether what takes from a node takes a latent, its first output: only that can be divided here. */
function givesLatentOnly(graph: Graph, nodeId: string): boolean {
  return links(graph)
    .filter(({ fromId }) => fromId === nodeId)
    .every(({ fromOutput, input }) => fromOutput === 0 && LATENT_INPUTS.has(input));
}

/** The nodes between the batch's latent and the outputs, in the order in which they run. */
function findRegion(
  graph: Graph,
  batch: Site,
):
  | { readonly kind: "found"; readonly nodeIds: readonly string[] }
  | Extract<Split, { kind: "nothing" }> {
  const outputs = new Set(promisedOutputs(graph).map((output) => output.nodeId));
  const behind = dependentsOf(graph, batch.nodeId);
  const nodeIds = topologicalOrder(graph).filter((id) => behind.has(id) && !outputs.has(id));
  for (const id of nodeIds) {
    const { class_type } = nodeOf(graph, id) as GraphNode;
    if (!Object.hasOwn(ONE_BY_ONE, class_type)) {
      return nothing(`Node ${id} (${class_type}) may look at the whole batch.`);
    }
  }
  if (nodeIds.length === 0) return nothing("Nothing is rendered from the batch.");
  const own = new Set([...nodeIds, batch.nodeId]);
  for (const id of nodeIds.flatMap((one) => [...ancestorsOf(graph, one)])) {
    const node = nodeOf(graph, id);
    if (own.has(id) || node === undefined || SAME_FOR_ALL.test(node.class_type)) continue;
    return nothing(`Node ${id} (${node.class_type}) may give each picture of the batch its own.`);
  }
  return { kind: "found", nodeIds };
}

function build(graph: Graph, batch: Site, region: readonly string[], partSize: number): Graph {
  const result: Record<string, GraphNode> = { ...graph };
  const inRegion = new Set(region);
  const idFor = (base: string): string => {
    let id = base;
    for (let n = 2; id in result || Object.hasOwn(graph, id); n += 1) id = `${base}_${String(n)}`;
    return id;
  };
  /** By part: what each node of the region is called there. */
  const names: ReadonlyMap<string, string>[] = [];
  for (let at = 0; at < batch.value; at += partSize) {
    const part = names.length + 1;
    const length = Math.min(partSize, batch.value - at);
    const picker = idFor(`${batch.nodeId}:part${String(part)}`);
    result[picker] = {
      class_type: "LatentFromBatch",
      inputs: { samples: [batch.nodeId, 0], batch_index: at, length },
    };
    // The first part keeps the names: errors and progress speak of the caller's nodes.
    const named = new Map(
      region.map((id) => [id, part === 1 ? id : idFor(`${id}:part${String(part)}`)]),
    );
    names.push(named);
    for (const id of region) {
      const node = nodeOf(graph, id) as GraphNode;
      result[named.get(id) ?? id] = relinkNode(node, (link) => {
        if (link[0] === batch.nodeId) return [picker, link[1]];
        return [named.get(link[0]) ?? link[0], link[1]];
      });
    }
  }
  const joined = new Map<string, GraphLink>();
  for (const [id, node] of Object.entries(graph)) {
    if (inRegion.has(id) || id === batch.nodeId) continue;
    result[id] = relinkNode(node, (link) => {
      if (!inRegion.has(link[0])) return link;
      const key = link.join("\n");
      const known = joined.get(key) ?? join(graph, link, names, result, idFor);
      joined.set(key, known);
      return known;
    });
  }
  return result;
}

/** Puts the parts of one node's output back together, in order. */
function join(
  graph: Graph,
  [nodeId, output]: GraphLink,
  names: readonly ReadonlyMap<string, string>[],
  result: Record<string, GraphNode>,
  idFor: (base: string) => string,
): GraphLink {
  const { class_type } = nodeOf(graph, nodeId) as GraphNode;
  const { class_type: joiner, inputs } = JOINS[ONE_BY_ONE[class_type] ?? "IMAGE"];
  const [first, ...others] = names.map((named): GraphLink => [named.get(nodeId) ?? nodeId, output]);
  return others.reduce<GraphLink>(
    (joined, next) => {
      const id = idFor(`${nodeId}:joined`);
      result[id] = { class_type: joiner, inputs: { [inputs[0]]: joined, [inputs[1]]: next } };
      return [id, 0];
    },
    first ?? [nodeId, output],
  );
}

function whyNotIdentical(
  graph: Graph,
  batchNodeId: string,
  sites: readonly Site[],
  region: readonly string[],
): string | null {
  for (const id of region) {
    const node = nodeOf(graph, id) as GraphNode;
    const name = samplerOf(graph, node);
    if (name !== undefined && !STEADY_SAMPLERS.has(name)) {
      return `Sampler ${name} draws noise for the whole batch at each step.`;
    }
  }
  if (region.some((id) => nodeOf(graph, id)?.class_type === "LatentUpscaleBy")) {
    return "The size of the noise after an upscale by a factor is not known.";
  }
  // Noise is drawn for the empty latent, and again where a sampler comes behind an upscale.
  const drawn = [batchNodeId, ...region].filter((id, index) => {
    return index === 0 || nodeOf(graph, id)?.class_type === "LatentUpscale";
  });
  const isWhole = drawn.every((nodeId) => {
    const along = (role: "width" | "height"): number | undefined =>
      sites.find((site) => site.nodeId === nodeId && site.role === role)?.value;
    const [width, height] = [along("width"), along("height")];
    if (width === undefined || height === undefined) return false;
    const rows = Math.floor(height / PIXELS_PER_LATENT);
    return (LEAST_CHANNELS * Math.floor(width / PIXELS_PER_LATENT) * rows) % NOISE_BLOCK === 0;
  });
  return isWhole ? null : "The noise of this size is drawn otherwise for a batch in one piece.";
}

/** The name of a node's sampler, of its own or by a link; undefined for a node that is none. */
function samplerOf(graph: Graph, node: GraphNode): string | undefined {
  const own = inputOf(node, "sampler_name");
  if (typeof own === "string") return own;
  const link = inputOf(node, "sampler");
  if (!isLink(link)) return own === undefined ? undefined : "by a link";
  const named = nodeOf(graph, link[0])?.inputs["sampler_name"];
  return typeof named === "string" ? named : (nodeOf(graph, link[0])?.class_type ?? "unknown");
}
