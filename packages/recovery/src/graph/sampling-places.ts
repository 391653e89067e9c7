/** Where the parameters of a graph are written, under the names of the error recovery API. */
import {
  inputOf,
  isLink,
  modelFolderOf,
  nodeOf,
  type Graph,
  type ObjectInfo,
} from "@holdfast/comfyui/protocol";
import {
  MODEL_FOLDERS,
  SEED_INPUTS,
  type InputPlace,
  type SamplingParameters,
} from "./sampling.ts";
import { findSites, type SiteRole } from "./sites.ts";

/** Parameters that are numbers at a site of the graph. */
const ROLES: Readonly<Partial<Record<keyof SamplingParameters, SiteRole>>> = {
  batch_size: "batch",
  width: "width",
  height: "height",
  num_inference_steps: "steps",
};

/**
 * The places that hold a parameter: that of the first sampler (as `readParameters` tells it), and
 * every other one that holds the same value. Two samplers that share their steps go on sharing them;
 * an upscaler's larger size stays as it is. Empty where the graph has no such parameter.
 */
export function placesOfParameter(
  graph: Graph,
  name: keyof SamplingParameters,
  objectInfo?: ObjectInfo,
): readonly InputPlace[] {
  const role = ROLES[name];
  if (role !== undefined) {
    const sites = findSites(graph, objectInfo).filter((site) => site.role === role);
    return withValueOfFirst(graph, sites, isNumber);
  }
  if (name === "model") return modelPlaces(graph);
  const places = inputsNamed(graph, name === "seed" ? SEED_INPUTS : ["cfg"]);
  return withValueOfFirst(graph, places, name === "seed" ? isSeed : isNumber);
}

/** Every place that holds a seed, whatever the seeds are. */
export function seedPlaces(graph: Graph): readonly InputPlace[] {
  const found = new Map<string, InputPlace>();
  for (const place of inputsNamed(graph, SEED_INPUTS)) {
    const held = holderOf(graph, place, isSeed)?.place;
    if (held !== undefined) found.set(`${held.nodeId}\n${held.input}`, held);
  }
  return [...found.values()];
}

function inputsNamed(graph: Graph, inputs: readonly string[]): readonly InputPlace[] {
  return Object.entries(graph).flatMap(([nodeId, node]) =>
    inputs.flatMap((input) => (inputOf(node, input) === undefined ? [] : [{ nodeId, input }])),
  );
}

const isNumber = (value: unknown): boolean => typeof value === "number" && Number.isFinite(value);
/** Seeds beyond 2^53 travel as text. */
const isSeed = (value: unknown): boolean =>
  isNumber(value) || (typeof value === "string" && /^[0-9]+$/.test(value));

function withValueOfFirst(
  graph: Graph,
  places: readonly InputPlace[],
  accepts: (value: unknown) => boolean,
): readonly InputPlace[] {
  const found = new Map<string, InputPlace>();
  let first: unknown;
  for (const place of places) {
    const held = holderOf(graph, place, accepts);
    if (held === undefined) continue;
    first ??= held.value;
    if (held.value === first) found.set(`${held.place.nodeId}\n${held.place.input}`, held.place);
  }
  return [...found.values()];
}

/** Where a value is written: in the input itself, or in the node that only holds it (a primitive). */
function holderOf(
  graph: Graph,
  { nodeId, input }: InputPlace,
  accepts: (value: unknown) => boolean,
): { readonly place: InputPlace; readonly value: unknown } | undefined {
  const node = nodeOf(graph, nodeId);
  const value = node === undefined ? undefined : inputOf(node, input);
  if (accepts(value)) return { place: { nodeId, input }, value };
  if (!isLink(value)) return undefined;
  const [sourceId] = value;
  const source = nodeOf(graph, sourceId);
  // A node that takes links computes something: writing into it would be a guess.
  if (source === undefined || Object.values(source.inputs).some(isLink)) return undefined;
  const held = Object.entries(source.inputs).filter(([, one]) => accepts(one));
  const [only] = held;
  if (only === undefined || held.length > 1) return undefined;
  return { place: { nodeId: sourceId, input: only[0] }, value: only[1] };
}

function modelPlaces(graph: Graph): readonly InputPlace[] {
  const named = Object.entries(graph).flatMap(([nodeId, node]) =>
    Object.entries(node.inputs).flatMap(([input, value]) => {
      const folder = modelFolderOf(node.class_type, input);
      const isModel = folder !== undefined && MODEL_FOLDERS.has(folder);
      return isModel && typeof value === "string" ? [{ nodeId, input, value }] : [];
    }),
  );
  return named
    .filter(({ value }) => value === named[0]?.value)
    .map(({ nodeId, input }) => ({ nodeId, input }));
}
