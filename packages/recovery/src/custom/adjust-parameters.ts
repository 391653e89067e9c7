/** Applies the adjustments of a custom pattern to a graph (C1), within their bounds. */
import {
  inputOf,
  isLink,
  modelFolderOf,
  nodeOf,
  type Graph,
  type GraphNode,
  type GraphPatch,
  type ObjectInfo,
} from "@holdfast/comfyui/protocol";
import { findSites, numberOf, type SiteRole } from "../graph/sites.ts";
import type { ParameterAdjustment, ParameterAdjustments } from "./custom-pattern.ts";

/** A value that a node's input holds. */
export type ParameterValue = number | string | boolean;

/** One value that was changed. */
export interface ParameterChange {
  /** The name in the adjustments. */
  readonly parameter: string;
  readonly nodeId: string;
  readonly input: string;
  readonly from: ParameterValue;
  /** By the adjustment, before the node's raster: 819 of 1024. */
  readonly to: ParameterValue;
  /** What is written into the node: 816. */
  readonly written: ParameterValue;
}

/** A name that changed nothing, and why. */
export interface UnmatchedParameter {
  readonly parameter: string;
  readonly reason: string;
}

/** What adjusting came to. */
export type Adjusted =
  | {
      readonly kind: "adjusted";
      readonly patch: GraphPatch;
      readonly changes: readonly ParameterChange[];
      readonly unmatched: readonly UnmatchedParameter[];
    }
  | { readonly kind: "nothing"; readonly unmatched: readonly UnmatchedParameter[] };

/** A place that a name stands for. */
interface Place {
  readonly nodeId: string;
  readonly input: string;
  readonly value: ParameterValue;
  /** The node's own raster for whole numbers of a picture; null for any other value. */
  readonly step: number | null;
  /** The least that makes sense there. */
  readonly least: number | null;
}

const SITE_ROLES: Readonly<Record<string, SiteRole>> = {
  batch_size: "batch",
  width: "width",
  height: "height",
  num_inference_steps: "steps",
};
const OTHER_INPUTS: Readonly<Record<string, readonly string[]>> = {
  seed: ["seed", "noise_seed"],
  cfg: ["cfg"],
};
const MODEL_FOLDERS: ReadonlySet<string> = new Set(["checkpoints", "diffusion_models"]);

/**
 * Changes every place that a name stands for: a parameter of C1 (`batch_size`, `width`, `height`,
 * `num_inference_steps`, `seed`, `cfg`, `model`), else `node.input`, else an input of that name
 * anywhere. A place is changed by the first name that stands for it. Whole numbers stay whole, and
 * sizes stay on the node's raster where the bounds leave one. A value that is beyond a bound already
 * stays as it is.
 */
export function adjustParameters(
  graph: Graph,
  adjustments: ParameterAdjustments,
  objectInfo?: ObjectInfo,
): Adjusted {
  const changes = new Map<string, ParameterChange>();
  const unmatched: UnmatchedParameter[] = [];
  for (const [parameter, adjustment] of Object.entries(adjustments)) {
    const places = placesOf(graph, parameter, objectInfo);
    const made = places.flatMap((place) => change(parameter, place, adjustment) ?? []);
    for (const one of made) {
      const key = `${one.nodeId}\n${one.input}`;
      if (!changes.has(key)) changes.set(key, one);
    }
    if (made.length === 0) unmatched.push({ parameter, reason: explain(places, adjustment) });
  }
  if (changes.size === 0) return { kind: "nothing", unmatched };
  const made = [...changes.values()];
  const set = made.map(({ nodeId, input, written }) => ({ nodeId, input, value: written }));
  return { kind: "adjusted", patch: { set }, changes: made, unmatched };
}

function placesOf(graph: Graph, parameter: string, objectInfo?: ObjectInfo): readonly Place[] {
  const named = namedPlaces(graph, parameter, objectInfo);
  if (named.length > 0) return named;
  const ofNode = placeOfNode(graph, parameter);
  if (ofNode !== null) return [ofNode];
  return everyPlace(graph, [parameter]);
}

function namedPlaces(graph: Graph, parameter: string, objectInfo?: ObjectInfo): readonly Place[] {
  if (parameter === "model") return modelPlaces(graph);
  const inputs = Object.hasOwn(OTHER_INPUTS, parameter) ? OTHER_INPUTS[parameter] : undefined;
  if (inputs !== undefined) return everyPlace(graph, inputs);
  const role = Object.hasOwn(SITE_ROLES, parameter) ? SITE_ROLES[parameter] : undefined;
  if (role === undefined) return [];
  return findSites(graph, objectInfo)
    .filter((site) => site.role === role)
    .map(({ nodeId, input, value, step }) => ({ nodeId, input, value, step, least: step }));
}

/** A dot may stand in the node's id or in the input's name: whichever split is there counts. */
function placeOfNode(graph: Graph, parameter: string): Place | null {
  for (let dot = parameter.indexOf("."); dot !== -1; dot = parameter.indexOf(".", dot + 1)) {
    const nodeId = parameter.slice(0, dot);
    const node = nodeOf(graph, nodeId);
    const place =
      node === undefined ? null : placeAt(graph, nodeId, node, parameter.slice(dot + 1));
    if (place !== null) return place;
  }
  return null;
}

function everyPlace(graph: Graph, inputs: readonly string[]): readonly Place[] {
  return Object.entries(graph).flatMap(([nodeId, node]) =>
    inputs.flatMap((input) => placeAt(graph, nodeId, node, input) ?? []),
  );
}

function modelPlaces(graph: Graph): readonly Place[] {
  return Object.entries(graph).flatMap(([nodeId, node]) =>
    Object.keys(node.inputs).flatMap((input) => {
      const folder = modelFolderOf(node.class_type, input);
      const isModel = folder !== undefined && MODEL_FOLDERS.has(folder);
      return isModel ? (placeAt(graph, nodeId, node, input) ?? []) : [];
    }),
  );
}

/** What an input holds, or takes from a node that holds a single number; null for any other link. */
function placeAt(graph: Graph, nodeId: string, node: GraphNode, input: string): Place | null {
  const held = inputOf(node, input);
  const value = isLink(held) ? numberOf(graph, node, input) : held;
  if (typeof value === "number" ? !Number.isFinite(value) : !isScalar(value)) return null;
  return { nodeId, input, value: value as ParameterValue, step: null, least: null };
}

function isScalar(value: unknown): value is string | boolean {
  return typeof value === "string" || typeof value === "boolean";
}

function change(
  parameter: string,
  place: Place,
  adjustment: ParameterAdjustment,
): ParameterChange | null {
  const { nodeId, input, value: from } = place;
  const result = adjust(place, adjustment);
  if (result === null || result.written === from) return null;
  return { parameter, nodeId, input, from, ...result };
}

function adjust(
  place: Place,
  adjustment: ParameterAdjustment,
): { readonly to: ParameterValue; readonly written: ParameterValue } | null {
  const { value } = place;
  if (adjustment.operation === "set" && typeof adjustment.value !== "number") {
    if (typeof value !== typeof adjustment.value) return null;
    return { to: adjustment.value, written: adjustment.value };
  }
  if (typeof value !== "number") return null;
  const wanted =
    adjustment.operation === "set" ? Number(adjustment.value) : value * adjustment.factor;
  const isDown = wanted < value;
  const isWhole = place.step !== null || Number.isInteger(value);
  const { min, max } = boundsOf(place, adjustment, isWhole);
  // A value at or beyond the bound that it moves towards stays as it is (C1).
  if (min > max || (isDown ? value <= min : value >= max)) return null;
  const rounded = isWhole ? roundTowards(wanted, isDown) : tidy(wanted);
  const to = Math.min(max, Math.max(min, rounded));
  const fits = (written: number): boolean =>
    written >= min && written <= max && (isDown ? written < value : written > value);
  return { to, written: onRaster(to, place.step, fits) };
}

function boundsOf(
  { least }: Place,
  adjustment: ParameterAdjustment,
  isWhole: boolean,
): { readonly min: number; readonly max: number } {
  const min = Math.max(adjustment.min ?? -Infinity, least ?? -Infinity);
  const max = adjustment.max ?? Infinity;
  return isWhole ? { min: Math.ceil(min), max: Math.floor(max) } : { min, max };
}

/** To the next whole number in the direction of the change, so that a change is one. */
function roundTowards(wanted: number, isDown: boolean): number {
  return isDown ? Math.floor(wanted + ROUNDING) : Math.ceil(wanted - ROUNDING);
}

const ROUNDING = 1e-9;

/** The multiple of the step at or under a number; the one over it where only that fits; else as it is. */
function onRaster(to: number, step: number | null, fits: (written: number) => boolean): number {
  if (step === null || step === 0) return to;
  const under = tidy(Math.floor(to / step + ROUNDING) * step);
  return [under, tidy(under + step)].find(fits) ?? to;
}

/** 0.7 × 0.1 as a person would write it. */
function tidy(value: number): number {
  return Number(value.toPrecision(12));
}

function explain(places: readonly Place[], adjustment: ParameterAdjustment): string {
  if (places.length === 0) return "The graph has no such parameter.";
  const list = places
    .slice(0, LISTED)
    .map(({ nodeId, input, value }) => `${nodeId}.${input} = ${JSON.stringify(value)}`)
    .join(", ");
  const isNumeric = adjustment.operation !== "set" || typeof adjustment.value === "number";
  const fits = places.some(({ value }) =>
    isNumeric ? typeof value === "number" : typeof value === typeof adjustment.value,
  );
  return fits
    ? `It is at its bound, or what was wanted, already: ${list}.`
    : `It holds another kind of value: ${list}.`;
}

const LISTED = 8;
