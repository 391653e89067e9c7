/**
 * A long sampler in segments, one after the other, so that a run can be resumed in the middle of it:
 * noise is added in the first only, and all but the last leave the rest of it in (F21). Not identical
 * to one piece: between segments a latent is scaled for the node's output and back, and rounding moves
 * pixels by 1 of 255 at most. Every run in the same segments is identical to every other.
 */
import {
  ancestorsOf,
  diffGraph,
  inputOf,
  isLink,
  nodeOf,
  type Graph,
  type GraphNode,
  type GraphPatch,
} from "@holdfast/comfyui/protocol";
import { freeId } from "./add-checkpoints.ts";
import { extrasCarried } from "./latent-extras.ts";
import { findSamplers } from "./sampling.ts";
import { numberOf } from "./sites.ts";

/** What segmenting came to. */
export interface Segmented {
  readonly patch: GraphPatch;
  /** The samplers that are in segments, each with the steps where it is cut. */
  readonly cut: readonly { readonly nodeId: string; readonly cuts: readonly number[] }[];
  /** The samplers that stay whole although they are long, and why. */
  readonly whole: readonly { readonly nodeId: string; readonly reason: string }[];
}

/** Steps of one segment, at least. */
const SEGMENT_STEPS = 10;
const SEGMENTS_MAX = 8;
/** Samplers of one graph that are looked at: each look goes through the graph. */
const SAMPLERS_MAX = 64;
/** Samplers that keep nothing from one step to the next: within 1 of 255 in segments (F21). */
const STATELESS: ReadonlySet<string> = new Set(["ddim", "euler", "heun"]);
/** From here on `KSampler` calls a run whole (comfy/samplers.py, 0.3.64). */
const WHOLE_DENOISE = 0.9999;
/** Classes between loader and sampler that keep nothing from one step to the next. */
const KEEPS_NOTHING =
  /^(?:CheckpointLoader(?:Simple)?|UNETLoader|LoraLoader(?:ModelOnly)?|ModelSampling\w*|CLIPSetLastLayer|FreeU(?:_V2)?|RescaleCFG)$/;

/**
 * Cuts every long sampler of a graph that stays the same picture, within 1 of 255: a loss of `pixels`.
 * The last segment keeps the sampler's id.
 */
export function segmentSamplers(graph: Graph): Segmented {
  const cut: { nodeId: string; cuts: readonly number[] }[] = [];
  const whole: { nodeId: string; reason: string }[] = [];
  const result: Record<string, GraphNode> = { ...graph };
  for (const nodeId of findSamplers(graph).slice(0, SAMPLERS_MAX)) {
    const node = nodeOf(graph, nodeId) as GraphNode;
    const span = spanOf(graph, node);
    if (span === undefined || span.to - span.from < 2 * SEGMENT_STEPS) continue;
    const reason = whyWhole(graph, node);
    if (reason !== null) {
      whole.push({ nodeId, reason });
      continue;
    }
    const cuts = cutsOf(span);
    putSegments(result, nodeId, node, span, cuts);
    cut.push({ nodeId, cuts });
  }
  return { patch: diffGraph(graph, result), cut, whole };
}

interface Span {
  readonly steps: number;
  readonly from: number;
  readonly to: number;
}

/** The steps that a sampler goes through; undefined where they are not in it. */
function spanOf(graph: Graph, node: GraphNode): Span | undefined {
  const steps = numberOf(graph, node, "steps");
  if (steps === undefined) return undefined;
  if (node.class_type === "KSampler") return { steps, from: 0, to: steps };
  if (node.class_type !== "KSamplerAdvanced") return undefined;
  const from = numberOf(graph, node, "start_at_step");
  const end = numberOf(graph, node, "end_at_step");
  if (from === undefined || end === undefined) return undefined;
  return { steps, from, to: Math.min(steps, end) };
}

function cutsOf({ from, to }: Span): readonly number[] {
  const count = Math.min(SEGMENTS_MAX, Math.floor((to - from) / SEGMENT_STEPS));
  return Array.from({ length: count - 1 }, (_, index) =>
    Math.round(from + ((to - from) * (index + 1)) / count),
  );
}

/** Why the picture would be another; null when it would not. */
function whyWhole(graph: Graph, node: GraphNode): string | null {
  const sampler = inputOf(node, "sampler_name");
  if (typeof sampler !== "string" || !STATELESS.has(sampler)) {
    const name = typeof sampler === "string" ? sampler : "by a link";
    return `Sampler ${name} in segments would be another picture.`;
  }
  const denoise = inputOf(node, "denoise") ?? 1;
  if (typeof denoise !== "number" || denoise <= WHOLE_DENOISE) {
    return "A sampler that denoises in part has a schedule of its own.";
  }
  const latent = inputOf(node, "latent_image");
  const extras = isLink(latent) ? extrasCarried(graph, latent) : new Set<string>();
  if (extras.has("noise_mask")) return "Behind a mask every step adds noise that is not kept.";
  const model = inputOf(node, "model");
  const models = isLink(model) ? [model[0], ...ancestorsOf(graph, model[0])] : [];
  for (const id of models) {
    const classType = nodeOf(graph, id)?.class_type ?? "";
    if (!KEEPS_NOTHING.test(classType)) {
      return `Node ${id} (${classType}) may keep something from step to step.`;
    }
  }
  return null;
}

/** Inputs that both classes have, under the names of `KSamplerAdvanced`. */
const SHARED = [
  "model",
  "steps",
  "cfg",
  "sampler_name",
  "scheduler",
  "positive",
  "negative",
] as const;

function putSegments(
  result: Record<string, GraphNode>,
  nodeId: string,
  node: GraphNode,
  span: Span,
  cuts: readonly number[],
): void {
  const isAdvanced = node.class_type === "KSamplerAdvanced";
  const shared = Object.fromEntries(SHARED.map((input) => [input, inputOf(node, input)]));
  const bounds = [span.from, ...cuts];
  let latent = inputOf(node, "latent_image");
  for (const [index, from] of bounds.entries()) {
    const to = cuts[index];
    const isLast = to === undefined;
    const id = isLast ? nodeId : freeId(result, `${nodeId}:segment${String(index + 1)}`);
    result[id] = {
      ...node,
      class_type: "KSamplerAdvanced",
      inputs: {
        ...shared,
        noise_seed: inputOf(node, isAdvanced ? "noise_seed" : "seed"),
        latent_image: latent,
        add_noise: index > 0 ? "disable" : isAdvanced ? inputOf(node, "add_noise") : "enable",
        start_at_step: from,
        end_at_step: isLast ? (isAdvanced ? inputOf(node, "end_at_step") : span.steps) : to,
        return_with_leftover_noise: !isLast
          ? "enable"
          : isAdvanced
            ? inputOf(node, "return_with_leftover_noise")
            : "disable",
      },
    };
    latent = [id, 0];
  }
}
