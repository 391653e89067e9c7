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
  type ModelNeed,
} from "@holdfast/comfyui/protocol";
import { adjustParameters } from "../custom/adjust-parameters.ts";
import type { ParameterAdjustments } from "../custom/custom-pattern.ts";
import type { ClassifiedError, ErrorClass } from "../error-class.ts";
import { LOSS_LEVELS, type LossLevel, type RungName } from "../ladder.ts";
import type { ErrorStrategy } from "../strategy.ts";
import { leastShare } from "./memory-estimate.ts";
import { replaceModel, type ModelReplacement } from "./model-places.ts";
import { reduceParameters, type Reduction, type ReductionScope } from "./reduce.ts";
import { findSites } from "./sites.ts";
import { splitBatch } from "./split-batch.ts";
import { switchModel, type ModelFiles } from "./switch-model.ts";
import { tileVae } from "./tiled-vae.ts";

/** The changes in force. Plain JSON, kept with the job. */
export interface Recipe {
  /** What was reduced, each time: everything, or sizes and steps alone. */
  readonly reductions: readonly ReductionScope[];
  /** VAE nodes of the caller's graph that work in tiles. */
  readonly tiledNodes: readonly string[];
  /** Most pictures rendered together; null while the batch is in one piece. */
  readonly partSize: number | null;
  /** Models that took the place of others, in the order in which they did. */
  readonly models?: readonly ModelReplacement[];
  /** What operators' patterns adjusted, each time. */
  readonly adjustments?: readonly ParameterAdjustments[];
}

/** No change: the caller's own graph. */
export const EMPTY_RECIPE: Recipe = { reductions: [], tiledNodes: [], partSize: null };

/** What the next change of a graph looks at. */
export interface ChangeRequest {
  readonly class: ErrorClass;
  /** What an operator's pattern asks for instead of the class's ladder; null where none matched. */
  readonly custom: CustomChange | null;
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
  /** What is known of models; null when no other could be chosen. */
  readonly models: ModelFacts | null;
  /** What the failure asked a card for, and the largest card there is; null where either is not known. */
  readonly memory: MemoryFacts | null;
}

/** What an operator's pattern asks for. */
export interface CustomChange {
  /** What the operator calls the error. */
  readonly errorType: string;
  readonly strategy: ErrorStrategy;
  readonly adjustments: ParameterAdjustments;
}

/** What a choice of another model looks at. */
export interface ModelFacts {
  /** Those of the graph as it ran that are not there, or cannot be read. */
  readonly missing: readonly ModelNeed[];
  /** Names by folder on the instances that have all else the graph needs. */
  readonly there: ReadonlyMap<string, readonly string[]>;
  /** What files say of themselves, those that are not there too; absent when nobody has told. */
  readonly files?: ModelFiles;
  /** What to take when nothing of the family is there, in this order. */
  readonly fallbacks: readonly string[];
}

/** One request for memory that failed, and what there is, in bytes. */
export interface MemoryFacts {
  readonly wantedBytes: number;
  readonly largestCardBytes: number;
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
  model_missing: ["same_model_other_name", "switch_model"],
  corrupt_model: ["switch_model"],
};

/** Whether a failure can be answered with another graph at all. */
export function hasChangingRungs(
  error: Pick<ClassifiedError, "class" | "strategy" | "custom">,
): boolean {
  return rungsOf(error.class, toCustomChange(error)).length > 0;
}

/** What an operator's pattern says about a change; null where none matched. */
export function toCustomChange({
  strategy,
  custom,
}: Pick<ClassifiedError, "strategy" | "custom">): CustomChange | null {
  return custom === undefined
    ? null
    : { errorType: custom.errorType, strategy, adjustments: custom.adjustments };
}

function rungsOf(errorClass: ErrorClass, custom: CustomChange | null): readonly RungName[] {
  if (custom === null) return CHANGING_RUNGS[errorClass] ?? [];
  if (custom.strategy === "ABORT") return [];
  if (custom.strategy === "SWITCH_MODEL") return ["same_model_other_name", "switch_model"];
  if (Object.keys(custom.adjustments).length > 0) return ["adjust_params"];
  return custom.strategy === "REDUCE_PARAMS" ? ["reduce_params"] : [];
}

/** Chooses the next change of a graph; pure, and the same for the same request. */
export function nextChange(request: ChangeRequest): GraphChange {
  const skipped: SkippedRung[] = [];
  for (const rung of rungsOf(request.class, request.custom)) {
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
  let result = (recipe.models ?? []).reduce(replaceModel, graph);
  for (const adjustments of recipe.adjustments ?? []) {
    const adjusted = adjustParameters(result, adjustments);
    if (adjusted.kind === "adjusted") result = applyPatch(result, adjusted.patch);
  }
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
  adjust_params: tryAdjusting,
  split_batch: trySplit,
  tiled_vae: tryTiles,
  reduce_params: tryReducing,
  same_model_other_name: (request: ChangeRequest) => tryModels(request, "none"),
  switch_model: (request: ChangeRequest) => tryModels(request, "content"),
} as const;

/** What an operator wrote: only sizes and steps are no more than a loss of size. */
function tryAdjusting({ graph, recipe, custom }: ChangeRequest): Tried {
  const { adjustments: earlier = [] } = recipe;
  const adjustments = custom?.adjustments ?? {};
  const current = applyRecipe(graph, { ...recipe, tiledNodes: [], partSize: null });
  const adjusted = adjustParameters(current, adjustments);
  if (adjusted.kind === "nothing") {
    return skip(
      adjusted.unmatched.map(({ parameter, reason }) => `${parameter}: ${reason}`).join(" "),
    );
  }
  const changes = adjusted.changes
    .map((one) => `${one.nodeId}.${one.input} ${String(one.from)} → ${String(one.written)}`)
    .join(", ");
  const isSize = adjusted.changes.every(({ parameter }) => SIZE_PARAMETERS.has(parameter));
  return {
    kind: "change",
    loss: isSize ? "size" : "content",
    recipe: { ...recipe, adjustments: [...earlier, adjustments] },
    explain: `Adjusted parameters for ${custom?.errorType ?? ""}: ${changes}`,
  };
}

const SIZE_PARAMETERS: ReadonlySet<string> = new Set(["width", "height", "num_inference_steps"]);

/** Every model that is missing gets a substitute, or none does: half a graph helps nobody. */
function tryModels({ graph, recipe, models }: ChangeRequest, most: LossLevel): Tried {
  if (models === null) return skip("It is not known which models are there.");
  if (models.missing.length === 0) return skip("It is not known which model is meant.");
  const current = (recipe.models ?? []).reduce(replaceModel, graph);
  const replaced: ModelReplacement[] = [];
  const words: string[] = [];
  for (const missing of models.missing) {
    const { folder, name } = missing;
    const earlier = (recipe.models ?? []).filter((one) => one.folder === folder);
    const switched = switchModel({
      graph: current,
      missing,
      there: models.there.get(folder) ?? [],
      fallbacks: models.fallbacks,
      ...(models.files !== undefined && { files: models.files }),
      tried: new Set(earlier.flatMap(({ from, to }) => [from, to])),
    });
    if (switched.kind === "nothing") return skip(switched.reason);
    if (switched.loss !== "none" && most === "none") {
      return skip(`No file in ${folder} is ${name} under another name.`);
    }
    replaced.push({ folder, from: name, to: switched.to });
    const how = switched.because === "same_hash" ? " (the same file by its hash)" : "";
    words.push(`${name} → ${switched.to}${how}`);
  }
  const all = words.join(", ");
  return {
    kind: "change",
    loss: most,
    recipe: { ...recipe, models: [...(recipe.models ?? []), ...replaced] },
    explain:
      most === "none" ? `The same model under another name: ${all}` : `Switched model: ${all}`,
  };
}

/** Into single pictures at once: a batch in halves mostly fails again, and costs a render to know. */
function trySplit({ graph, recipe, hasClass, memory }: ChangeRequest): Tried {
  if (recipe.partSize !== null) return skip("The batch is rendered in parts already.");
  const lacking = ["LatentFromBatch", "ImageBatch"].find((name) => !hasClass(name));
  if (lacking !== undefined) return skip(`Not every instance has ${lacking}.`);
  const changed = applyRecipe(graph, recipe);
  const batch = findSites(changed).find((site) => site.role === "batch" && site.value > 1);
  const partSize = Math.ceil((batch?.value ?? 1) / PARTS_MAX);
  const split = splitBatch(changed, partSize);
  if (split.kind === "nothing") return skip(split.reason);
  const share = partSize / (batch?.value ?? 1);
  if (memory !== null && memory.wantedBytes * share > memory.largestCardBytes) {
    return skip("By what it asked for, not even one part of the batch fits any card.");
  }
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

function tryReducing(request: ChangeRequest): Tried {
  const { custom, graph, recipe, maxLoss, memory } = request;
  const errorType = custom?.errorType ?? request.class;
  // In parts only one picture is in memory, however many there are; and fewer would be a loss of content.
  const scope = recipe.partSize === null && maxLoss === "content" ? "all" : "sizes";
  const { reductions } = recipe;
  let current = applyRecipe(graph, { ...recipe, tiledNodes: [], partSize: null });
  const steps: Reduction[][] = [];
  for (;;) {
    const reduced = reduceParameters(current, undefined, scope);
    if (reduced.kind === "nothing") {
      if (steps.length > 0) break;
      return skip(reduced.reason);
    }
    if (reduced.reductions.every(({ role }) => role === "steps" || role === "step_mark")) {
      if (steps.length > 0) break;
      return skip("Only steps could be made fewer, and they take no memory.");
    }
    steps.push([...reduced.reductions]);
    current = applyPatch(current, reduced.patch);
    // What even by the kindest estimate cannot fit is not tried: straight on to the next size.
    const isHopeless =
      memory !== null && memory.wantedBytes * leastShare(steps) > memory.largestCardBytes;
    if (!isHopeless || lossyChanges(recipe) + steps.length >= request.maxChanges) break;
  }
  const all = mergeReductions(steps);
  const changes = all
    .map((one) => `${one.nodeId}.${one.input} ${String(one.from)} → ${String(one.written)}`)
    .join(", ");
  const isFewer = all.some(({ role }) => role === "batch" || role === "frames");
  const isComposed = Object.values(graph).some((node) => COMPOSES.test(node.class_type));
  return {
    kind: "change",
    loss: isFewer || isComposed ? "content" : "size",
    recipe: { ...recipe, reductions: [...reductions, ...steps.map(() => scope)] },
    explain: `Reduced parameters for ${errorType}: ${changes}`,
  };
}

/** Several reductions as one: from the first value to the last. */
function mergeReductions(steps: readonly (readonly Reduction[])[]): readonly Reduction[] {
  const merged = new Map<string, Reduction>();
  for (const reduction of steps.flat()) {
    const key = `${reduction.nodeId}.${reduction.input}`;
    merged.set(key, { ...reduction, from: merged.get(key)?.from ?? reduction.from });
  }
  return [...merged.values()];
}

function lossyChanges({ reductions, tiledNodes, models = [], adjustments = [] }: Recipe): number {
  return reductions.length + tiledNodes.length + models.length + adjustments.length;
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
  if (loss === "none" || lossyChanges(recipe) < maxChanges) return null;
  return `All ${String(maxChanges)} allowed changes of the graph were made.`;
}

function skip(reason: string): Tried {
  return { kind: "skip", reason };
}
