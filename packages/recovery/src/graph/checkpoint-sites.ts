/**
 * Where a run is worth putting away: outputs of samplers whose work is long and whose latents survive
 * `SaveLatent` and `LoadLatent` whole. Each has a key, the hash of everything that decides its numbers,
 * so that a checkpoint is used only where the very same work would be done again.
 */
import {
  canonicalJson,
  inputOf,
  isLink,
  links,
  nodeOf,
  promisedOutputs,
  pruneTo,
  type Graph,
  type GraphLink,
  type GraphNode,
} from "@holdfast/comfyui/protocol";
import { extrasCarried, extrasRead, type Consumer } from "./latent-extras.ts";
import { findSamplers } from "./sampling.ts";
import { numberOf } from "./sites.ts";

/** One output of a sampler that is worth a checkpoint. */
export interface CheckpointSite {
  /** The output, as links name it. */
  readonly source: GraphLink;
  readonly classType: string;
  /** Work that the sampler does: steps × megapixels × pictures (or frames). */
  readonly work: number;
  /** SHA-256, in hex, of all that decides the latent: classes, inputs and links up to its loaders. */
  readonly key: string;
}

/** What is worth a checkpoint. */
export interface CheckpointRule {
  /** Least {@link CheckpointSite.work}. */
  readonly minWork: number;
}

/**
 * A checkpoint costs the card next to nothing (1 ms for `SaveLatent` at 1024×1024, 1 ms to fetch its
 * 0.26 MB; 0.3.64 on a CPU), but everybody else a file stored and rows written. It is worth that from
 * some seconds of sampling on: 1024×1024 in 20 steps is 21, 512×512 in 20 steps is 5.
 */
export const CHECKPOINT_RULE: CheckpointRule = { minWork: 20 };
/** Most sites of one graph: the longest count. */
export const CHECKPOINT_SITES_MAX = 32;

/** Samplers that are looked at more closely: each look goes through the graph. */
const SAMPLERS_MAX = 2 * CHECKPOINT_SITES_MAX;
/** Where the number of steps is not known. */
const DEFAULT_STEPS = 20;
const PIXELS_PER_MEGAPIXEL = 1_000_000;
/** Inputs by which a picture or latent comes in, the first that is linked counts. */
const PICTURE_INPUTS = ["samples", "latent_image", "samples1", "pixels", "image", "start_image"];
/** By these inputs a latent is taken: what a sampler gives elsewhere is something else. */
const LATENT_INPUTS: ReadonlySet<string> = new Set(["latent", "latent_image", "samples"]);
const FRAME_INPUTS = ["length", "num_frames", "video_frames", "frames"];
/** Longest way back to a size; a graph that is deeper is none people draw. */
const MAX_WAY = 1_000;

/** What a latent is made of, as far as it costs: the size of one picture, and how many. */
interface Amount {
  readonly megapixels: number;
  readonly count: number;
}

/** Of a latent of which nothing is known. */
const USUAL_AMOUNT: Amount = { megapixels: 1, count: 1 };

/**
 * The sites of a graph, in the order in which they run. Deterministic; `sha256` turns text into hex,
 * for this package names no platform.
 */
export function findCheckpointSites(
  graph: Graph,
  sha256: (text: string) => string,
  rule: CheckpointRule = CHECKPOINT_RULE,
): readonly CheckpointSite[] {
  const amounts = new Map<string, Amount>();
  const worthy = longest(
    findSamplers(graph)
      .map((nodeId) => ({ nodeId, work: workOf(graph, nodeId, amounts) }))
      .filter(({ work }) => work >= rule.minWork),
    SAMPLERS_MAX,
  );
  if (worthy.length === 0) return [];
  const outputs = promisedOutputs(graph).map((output) => output.nodeId);
  const used = outputs.length === 0 ? graph : pruneTo(graph, outputs);
  const consumers = consumersIn(used);
  const consumersOf = (link: GraphLink): readonly Consumer[] =>
    consumers.get(link.join("\n")) ?? [];
  const keyOf = createKeys(graph, sha256);
  const keys = new Set<string>();
  const sites: CheckpointSite[] = [];
  for (const { nodeId, work } of worthy) {
    const { class_type: classType } = nodeOf(graph, nodeId) as GraphNode;
    for (const source of latentsOf(nodeId, consumers)) {
      const carried = extrasCarried(graph, source);
      const read = extrasRead(used, source, consumersOf);
      if ([...read].some((extra) => carried.has(extra))) continue;
      const key = keyOf(source);
      // Two samplers that do the same: one file serves both.
      if (keys.has(key)) continue;
      keys.add(key);
      sites.push({ source, classType, work, key });
    }
  }
  return longest(sites, CHECKPOINT_SITES_MAX);
}

/** The `most` that do the most work, in the order in which they run. */
function longest<T extends { readonly work: number }>(
  given: readonly T[],
  most: number,
): readonly T[] {
  if (given.length <= most) return given;
  const chosen = new Set(given.toSorted((a, b) => b.work - a.work).slice(0, most));
  return given.filter((one) => chosen.has(one));
}

function consumersIn(graph: Graph): ReadonlyMap<string, readonly Consumer[]> {
  const consumers = new Map<string, Consumer[]>();
  for (const { fromId, fromOutput, toId, input } of links(graph)) {
    const key = [fromId, fromOutput].join("\n");
    const list = consumers.get(key) ?? [];
    list.push({ nodeId: toId, input });
    consumers.set(key, list);
  }
  return consumers;
}

/** The outputs of a sampler that somebody takes as a latent. */
function latentsOf(
  nodeId: string,
  consumers: ReadonlyMap<string, readonly Consumer[]>,
): readonly GraphLink[] {
  const found: GraphLink[] = [];
  for (let output = 0; output < OUTPUTS_MAX; output += 1) {
    const taken = consumers.get([nodeId, output].join("\n")) ?? [];
    if (taken.length > 0 && taken.every(({ input }) => LATENT_INPUTS.has(input))) {
      found.push([nodeId, output]);
    }
  }
  return found;
}

/** Samplers of node packs have up to half a dozen outputs. */
const OUTPUTS_MAX = 8;

/** How much work a sampler does. What is not known is taken for a usual picture. */
function workOf(graph: Graph, nodeId: string, amounts: Map<string, Amount>): number {
  const node = nodeOf(graph, nodeId) as GraphNode;
  const latent = inputOf(node, "latent_image");
  const { megapixels, count } = isLink(latent)
    ? amountBehind(graph, latent[0], amounts)
    : USUAL_AMOUNT;
  return stepsOf(graph, node) * megapixels * count;
}

function stepsOf(graph: Graph, node: GraphNode): number {
  const own = numberOf(graph, node, "steps");
  if (own !== undefined) {
    const from = numberOf(graph, node, "start_at_step") ?? 0;
    const to = Math.min(own, numberOf(graph, node, "end_at_step") ?? own);
    return Math.max(0, to - from);
  }
  // A schedule comes by a link, perhaps through nodes that cut it.
  let link = inputOf(node, "sigmas");
  for (let way = 0; way < MAX_WAY && isLink(link); way += 1) {
    const source = nodeOf(graph, link[0]);
    if (source === undefined) break;
    const steps = numberOf(graph, source, "steps");
    if (steps !== undefined) return steps;
    link = inputOf(source, "sigmas");
  }
  return DEFAULT_STEPS;
}

/** What the latent or picture of a node is made of; `amounts` keeps what was found before. */
function amountBehind(graph: Graph, nodeId: string, amounts: Map<string, Amount>): Amount {
  const way: string[] = [];
  let at: string | undefined = nodeId;
  while (at !== undefined && !amounts.has(at) && way.length < MAX_WAY) {
    way.push(at);
    const node: GraphNode | undefined = nodeOf(graph, at);
    at = node === undefined ? undefined : sourceOf(node)?.[0];
  }
  let amount = (at === undefined ? undefined : amounts.get(at)) ?? USUAL_AMOUNT;
  for (const id of way.reverse()) {
    const node = nodeOf(graph, id);
    if (node !== undefined) amount = amountAfter(graph, node, amount);
    amounts.set(id, amount);
  }
  return amount;
}

/** What comes out of a node that `before` goes into. */
function amountAfter(graph: Graph, node: GraphNode, before: Amount): Amount {
  const number = (input: string): number | undefined => numberOf(graph, node, input);
  if (node.class_type === "LatentFromBatch") {
    return { megapixels: before.megapixels, count: number("length") ?? 1 };
  }
  const amount = number("amount");
  if (amount !== undefined) return { ...before, count: before.count * amount };
  const by = number("scale_by");
  if (by !== undefined) return { ...before, megapixels: before.megapixels * by * by };
  const [width, height] = [number("width"), number("height")];
  if (width === undefined || height === undefined) return before;
  const megapixels = (width * height) / PIXELS_PER_MEGAPIXEL;
  const frames = FRAME_INPUTS.map(number).find((value) => value !== undefined) ?? 1;
  // Scaling keeps the number of pictures, and a side of 0 the ratio.
  const pictures = sourceOf(node) === undefined ? (number("batch_size") ?? 1) : before.count;
  return {
    megapixels: megapixels > 0 ? megapixels : before.megapixels,
    count: pictures * frames,
  };
}

function sourceOf(node: GraphNode): GraphLink | undefined {
  return PICTURE_INPUTS.map((input) => inputOf(node, input)).find(isLink);
}

/**
 * Hashes of nodes by all that decides what they give: class and inputs, links replaced by the hash of
 * where they come from. Ids and titles decide nothing. Each node is hashed once.
 */
function createKeys(graph: Graph, sha256: (text: string) => string): (source: GraphLink) => string {
  const hashes = new Map<string, string>();
  const hashOf = (nodeId: string): string => {
    const stack = [nodeId];
    for (let id = stack.at(-1); id !== undefined; id = stack.at(-1)) {
      const node = hashes.has(id) ? undefined : nodeOf(graph, id);
      const open = Object.values(node?.inputs ?? {}).flatMap((value) =>
        isLink(value) && !hashes.has(value[0]) && nodeOf(graph, value[0]) !== undefined
          ? [value[0]]
          : [],
      );
      if (node !== undefined && open.length > 0) {
        stack.push(...open);
        continue;
      }
      stack.pop();
      if (node !== undefined) hashes.set(id, sha256(describe(node, hashes)));
    }
    return hashes.get(nodeId) ?? "";
  };
  return ([nodeId, output]) => sha256(`${hashOf(nodeId)}:${String(output)}`);
}

function describe(node: GraphNode, hashes: ReadonlyMap<string, string>): string {
  const inputs = Object.entries(node.inputs).map(([input, value]): [string, unknown] => [
    input,
    isLink(value) ? { from: hashes.get(value[0]) ?? "nowhere", output: value[1] } : { value },
  ]);
  return canonicalJson([node.class_type, Object.fromEntries(inputs)]);
}
