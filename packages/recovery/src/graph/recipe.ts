/**
 * What recovery has changed in a job's graph, as data: the next change starts from the caller's own
 * graph again, so that changes never pile up on each other's traces. A recipe always gives the same
 * graph.
 */
import {
  applyPatch,
  diffGraph,
  nodeOf,
  type Graph,
  type GraphPatch,
} from "@holdfast/comfyui/protocol";
import type { ErrorClass } from "../error-class.ts";
import { LOSS_LEVELS, type LossLevel, type RungName } from "../ladder.ts";
import { reduceParameters, type ReductionScope } from "./reduce.ts";
import { findSites } from "./sites.ts";
import { splitBatch } from "./split-batch.ts";
import { tileVae } from "./tiled-vae.ts";

/** The changes in force. Plain JSON, kept with the job. */
export interface Recipe {
  /** What was reduced, each time: everything, or sizes and steps alone. */
  readonly reductions: readonly ReductionScope[];
  /** VAE nodes of the caller's graph that work in tiles. */
  readonly tiledNodes: readonly string[];
  /** Most pictures rendered together; null while the batch is in one piece. */
  readonly partSize: number | null;
}

/** No change: the caller's own graph. */
export const EMPTY_RECIPE: Recipe = { reductions: [], tiledNodes: [], partSize: null };

/** What the next change of a graph looks at. */
export interface ChangeRequest {
  readonly class: ErrorClass;
  /** The caller's own graph. */
  readonly graph: Graph;
  readonly recipe: Recipe;
  /** The node that failed, as the run named it; null when nobody knows. */
  readonly failedNodeId: string | null;
  /** Whether every instance that may run it has a class. */
  readonly hasClass: (classType: string) => boolean;
  readonly maxLoss: LossLevel;
  /** `MAX_RETRY_ATTEMPTS`: changes with a loss that a job may go through. */
  readonly maxChanges: number;
}

/** A rung that was passed over, and why. */
export interface SkippedRung {
  readonly rung: RungName;
  readonly reason: string;
}

/** The next change, or why there is none. */
export type GraphChange =
  | {
      readonly kind: "changed";
      readonly rung: RungName;
      readonly loss: LossLevel;
      readonly recipe: Recipe;
      /** From the caller's graph to the one to run. */
      readonly patch: GraphPatch;
      readonly explain: string;
      readonly skipped: readonly SkippedRung[];
    }
  | { readonly kind: "none"; readonly skipped: readonly SkippedRung[] };

/** More parts than this are rendered several pictures at a time. */
const PARTS_MAX = 16;
/** Nodes that put pictures together by pixels: parts that do not shrink alike make another picture. */
const COMPOSES = /Composite|PadForOutpaint/;
/** Rungs that change the graph, by class, in the order in which they are tried. */
const CHANGING_RUNGS: Readonly<Partial<Record<ErrorClass, readonly RungName[]>>> = {
  cuda_out_of_memory: ["split_batch", "tiled_vae", "reduce_params"],
  host_out_of_memory: ["reduce_params"],
};

/** Whether a failure of this class can be answered with another graph at all. */
export function hasChangingRungs(errorClass: ErrorClass): boolean {
  return CHANGING_RUNGS[errorClass] !== undefined;
}

/** Chooses the next change of a graph; pure, and the same for the same request. */
export function nextChange(request: ChangeRequest): GraphChange {
  const skipped: SkippedRung[] = [];
  for (const rung of CHANGING_RUNGS[request.class] ?? []) {
    const tried = TRY[rung as keyof typeof TRY](request);
    if (tried.kind === "skip") {
      skipped.push({ rung, reason: tried.reason });
      continue;
    }
    const { loss, recipe, explain } = tried;
    const refused = refusal(request, loss);
    if (refused !== null) {
      skipped.push({ rung, reason: refused });
      continue;
    }
    const patch = diffGraph(request.graph, applyRecipe(request.graph, recipe));
    return { kind: "changed", rung, loss, recipe, patch, explain, skipped };
  }
  return { kind: "none", skipped };
}

/** The graph that a recipe makes of the caller's own. */
export function applyRecipe(graph: Graph, recipe: Recipe): Graph {
  let result = graph;
  for (const scope of recipe.reductions) {
    const reduced = reduceParameters(result, undefined, scope);
    if (reduced.kind === "nothing") break;
    result = applyPatch(result, reduced.patch);
  }
  for (const nodeId of recipe.tiledNodes) {
    const tiled = tileVae(result, nodeId);
    if (tiled.kind === "tiled") result = applyPatch(result, tiled.patch);
  }
  if (recipe.partSize === null) return result;
  const split = splitBatch(result, recipe.partSize);
  return split.kind === "split" ? applyPatch(result, split.patch) : result;
}

type Tried =
  | { readonly kind: "skip"; readonly reason: string }
  | {
      readonly kind: "change";
      readonly loss: LossLevel;
      readonly recipe: Recipe;
      readonly explain: string;
    };

const TRY = {
  split_batch: trySplit,
  tiled_vae: tryTiles,
  reduce_params: tryReducing,
} as const;

/** Into single pictures at once: a batch in halves mostly fails again, and costs a render to know. */
function trySplit({ graph, recipe, hasClass }: ChangeRequest): Tried {
  if (recipe.partSize !== null) return skip("The batch is rendered in parts already.");
  const lacking = ["LatentFromBatch", "ImageBatch"].find((name) => !hasClass(name));
  if (lacking !== undefined) return skip(`Not every instance has ${lacking}.`);
  const changed = applyRecipe(graph, recipe);
  const batch = findSites(changed).find((site) => site.role === "batch" && site.value > 1);
  const partSize = Math.ceil((batch?.value ?? 1) / PARTS_MAX);
  const split = splitBatch(changed, partSize);
  if (split.kind === "nothing") return skip(split.reason);
  const each = partSize === 1 ? "one picture" : `${String(partSize)} pictures`;
  return {
    kind: "change",
    loss: split.isIdentical ? "none" : "pixels",
    recipe: { ...recipe, partSize },
    explain:
      `The batch is rendered ${each} at a time and put back together` +
      (split.notIdentical === null ? "." : `, not identical: ${split.notIdentical}`),
  };
}

function tryTiles({ graph, recipe, failedNodeId, hasClass }: ChangeRequest): Tried {
  const nodeId = failedNodeId === null ? null : ownNodeOf(graph, failedNodeId);
  if (nodeId === null) return skip("It is not known which node failed.");
  if (recipe.tiledNodes.includes(nodeId)) return skip("The VAE works in tiles already.");
  const tiled = tileVae(graph, nodeId);
  if (tiled.kind === "nothing") return skip(tiled.reason);
  if (!hasClass(tiled.classType)) return skip(`Not every instance has ${tiled.classType}.`);
  return {
    kind: "change",
    loss: "pixels",
    recipe: { ...recipe, tiledNodes: [...recipe.tiledNodes, nodeId] },
    explain: `The VAE of node ${nodeId} works in tiles.`,
  };
}

function tryReducing({ class: errorClass, graph, recipe, maxLoss }: ChangeRequest): Tried {
  // In parts only one picture is in memory, however many there are; and fewer would be a loss of content.
  const scope = recipe.partSize === null && maxLoss === "content" ? "all" : "sizes";
  const current = applyRecipe(graph, { ...EMPTY_RECIPE, reductions: recipe.reductions });
  const reduced = reduceParameters(current, undefined, scope);
  if (reduced.kind === "nothing") return skip(reduced.reason);
  if (reduced.reductions.every(({ role }) => role === "steps" || role === "step_mark")) {
    return skip("Only steps could be made fewer, and they take no memory.");
  }
  const changes = reduced.reductions
    .map((one) => `${one.nodeId}.${one.input} ${String(one.from)} → ${String(one.written)}`)
    .join(", ");
  const isFewer = reduced.reductions.some(({ role }) => role === "batch" || role === "frames");
  const isComposed = Object.values(graph).some((node) => COMPOSES.test(node.class_type));
  return {
    kind: "change",
    loss: isFewer || isComposed ? "content" : "size",
    recipe: { ...recipe, reductions: [...recipe.reductions, scope] },
    explain: `Reduced parameters for ${errorClass}: ${changes}`,
  };
}

/** The caller's node behind one that a split has made (`8:part2`). */
function ownNodeOf(graph: Graph, nodeId: string): string | null {
  if (nodeOf(graph, nodeId) !== undefined) return nodeId;
  const own = nodeId.replace(/:part\d+(?:_\d+)?$/, "");
  return nodeOf(graph, own) === undefined ? null : own;
}

function refusal({ recipe, maxLoss, maxChanges }: ChangeRequest, loss: LossLevel): string | null {
  if (LOSS_LEVELS.indexOf(loss) > LOSS_LEVELS.indexOf(maxLoss)) {
    return `It would cost ${loss}, and the job's policy allows ${maxLoss} at most.`;
  }
  const lossy = recipe.reductions.length + recipe.tiledNodes.length;
  if (loss === "none" || lossy < maxChanges) return null;
  return `All ${String(maxChanges)} allowed changes of the graph were made.`;
}

function skip(reason: string): Tried {
  return { kind: "skip", reason };
}
