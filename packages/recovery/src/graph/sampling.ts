/**
 * How a graph samples: where its samplers are, what text feeds their positive input, and its
 * parameters under the names of the error recovery API.
 */
import {
  inputOf,
  isLink,
  modelFolderOf,
  nodeOf,
  topologicalOrder,
  type Graph,
  type GraphLink,
  type GraphNode,
  type ObjectInfo,
} from "@holdfast/comfyui/protocol";
import { findSites, numberOf, type SiteRole } from "./sites.ts";

/** A place in a graph. */
export interface InputPlace {
  readonly nodeId: string;
  readonly input: string;
}

/** Parameters under the names of the error recovery API; absent where the graph has none. */
export interface SamplingParameters {
  readonly batch_size?: number;
  readonly width?: number;
  readonly height?: number;
  readonly num_inference_steps?: number;
  readonly seed?: number | string;
  readonly cfg?: number;
  readonly model?: string;
}

/** Inputs that hold the words of a text encoder, in the order in which they count. */
const TEXT_INPUTS = ["text", "prompt", "text_g", "text_l", "clip_l", "t5xxl", "positive_prompt"];
/** Inputs of nodes that only hold a text. */
const HELD_TEXT_INPUTS = ["value", "string", "text", "String"];
/** Inputs that hold a seed. */
export const SEED_INPUTS: readonly string[] = ["seed", "noise_seed"];
/** Inputs by which conditioning goes through a node, for the branch that is followed. */
const CONDITIONING_INPUTS = /^conditioning/;
/** Folders of the models that make the picture; the others help them. */
export const MODEL_FOLDERS: ReadonlySet<string> = new Set(["checkpoints", "diffusion_models"]);
/** Longest way from a sampler up to its text; a graph that is deeper is none people draw. */
const MAX_WAY = 10_000;

/** Samplers in the order in which they run: what takes conditioning and a latent, or a guider. */
export function findSamplers(graph: Graph): readonly string[] {
  return topologicalOrder(graph).filter((id) => {
    const node = nodeOf(graph, id);
    if (node === undefined) return false;
    const takes = (input: string): boolean => isLink(inputOf(node, input));
    return takes("latent_image") && (takes("positive") || takes("guider"));
  });
}

/**
 * The places whose text feeds the positive input of the graph's samplers, found by walking the
 * links; each once, in the order of the samplers. More than one for encoders with several texts.
 */
export function findPositiveTexts(graph: Graph): readonly InputPlace[] {
  const places = new Map<string, InputPlace>();
  for (const id of findSamplers(graph)) {
    const node = nodeOf(graph, id);
    const entry = node === undefined ? undefined : positiveOf(graph, node);
    if (entry === undefined) continue;
    for (const place of textsBehind(graph, entry)) {
      places.set(`${place.nodeId}\n${place.input}`, place);
    }
  }
  return [...places.values()];
}

/** The graph's parameters as the API names them: those of the first sampler, and what feeds it. */
export function readParameters(graph: Graph, objectInfo?: ObjectInfo): SamplingParameters {
  const sites = findSites(graph, objectInfo);
  const first = (role: SiteRole): number | undefined =>
    sites.find((site) => site.role === role)?.value;
  const nodes = Object.values(graph);
  return withoutAbsent({
    batch_size: first("batch"),
    width: first("width"),
    height: first("height"),
    num_inference_steps: first("steps"),
    seed: firstOf(nodes, SEED_INPUTS, (node, input) => seedOf(graph, node, input)),
    cfg: firstOf(nodes, ["cfg"], (node, input) => numberOf(graph, node, input)),
    model: mainModelOf(nodes),
  });
}

/** A guider takes the conditioning in its stead. */
function positiveOf(graph: Graph, sampler: GraphNode): GraphLink | undefined {
  const positive = inputOf(sampler, "positive");
  if (isLink(positive)) return positive;
  const guider = inputOf(sampler, "guider");
  const node = isLink(guider) ? nodeOf(graph, guider[0]) : undefined;
  if (node === undefined) return undefined;
  // CFGGuider, DualCFGGuider, BasicGuider.
  for (const input of ["positive", "cond1", "conditioning"]) {
    const link = inputOf(node, input);
    if (isLink(link)) return link;
  }
  return undefined;
}

function textsBehind(graph: Graph, entry: GraphLink): readonly InputPlace[] {
  const found: InputPlace[] = [];
  const seen = new Set<string>();
  const stack: GraphLink[] = [entry];
  for (let way = 0; way < MAX_WAY; way += 1) {
    const link = stack.pop();
    if (link === undefined) break;
    const key = link.join("\n");
    const node = nodeOf(graph, link[0]);
    if (seen.has(key) || node === undefined) continue;
    seen.add(key);
    const own = TEXT_INPUTS.flatMap((input) => textPlace(graph, link[0], node, input) ?? []);
    if (own.length > 0) {
      found.push(...own);
      continue;
    }
    // Reversed, so that the first input is walked first.
    stack.push(...[...conditioningOf(node, link[1])].reverse());
  }
  return found;
}

/** Where conditioning comes from: nodes of two branches give the positive one first. */
function conditioningOf(node: GraphNode, output: number): readonly GraphLink[] {
  const branch = inputOf(node, output === 1 ? "negative" : "positive");
  if (isLink(branch)) return [branch];
  return Object.entries(node.inputs).flatMap(([input, value]) =>
    CONDITIONING_INPUTS.test(input) && isLink(value) ? [value] : [],
  );
}

/** The place of a text itself: the input, or that of the node that only holds it. */
function textPlace(
  graph: Graph,
  nodeId: string,
  node: GraphNode,
  input: string,
): InputPlace | undefined {
  const value = inputOf(node, input);
  if (typeof value === "string") return { nodeId, input };
  if (!isLink(value)) return undefined;
  const holder = nodeOf(graph, value[0]);
  if (holder === undefined || Object.values(holder.inputs).some(isLink)) return undefined;
  const held = HELD_TEXT_INPUTS.find((name) => typeof inputOf(holder, name) === "string");
  return held === undefined ? undefined : { nodeId: value[0], input: held };
}

function firstOf<T>(
  nodes: readonly GraphNode[],
  inputs: readonly string[],
  read: (node: GraphNode, input: string) => T | undefined,
): T | undefined {
  for (const node of nodes) {
    for (const input of inputs) {
      const value = read(node, input);
      if (value !== undefined) return value;
    }
  }
  return undefined;
}

/** Seeds beyond 2^53 travel as text. */
function seedOf(graph: Graph, node: GraphNode, input: string): number | string | undefined {
  const value = inputOf(node, input);
  return typeof value === "string" ? value : numberOf(graph, node, input);
}

function mainModelOf(nodes: readonly GraphNode[]): string | undefined {
  for (const node of nodes) {
    for (const [input, value] of Object.entries(node.inputs)) {
      const folder = modelFolderOf(node.class_type, input);
      if (folder !== undefined && MODEL_FOLDERS.has(folder) && typeof value === "string") {
        return value;
      }
    }
  }
  return undefined;
}

function withoutAbsent(values: {
  readonly [K in keyof SamplingParameters]: SamplingParameters[K] | undefined;
}): SamplingParameters {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}
