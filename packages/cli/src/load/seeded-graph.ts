/**
 * A graph for each job of a run: with a seed of its own, or ComfyUI would answer from its cache (F15). The
 * seed goes into every `seed` and `noise_seed`, into the node that such an input is linked to, and where
 * the graph says `{{seed}}`; `{{index}}` is the number of the job, from 0.
 */
import {
  fillTemplate,
  findTemplateVariables,
  inputOf,
  isLink,
  nodeOf,
  setInput,
  type Graph,
} from "@holdfast/comfyui/protocol";
import type { PlannedJob } from "@holdfast/load";

/** Where a seed stands. */
export interface SeedPlace {
  readonly nodeId: string;
  readonly input: string;
}

/** Variables that a run has values for. */
export const JOB_VARIABLES: readonly string[] = ["seed", "index"];

const SEED_INPUTS = ["seed", "noise_seed"];
/** Of a node that does nothing but give a number: a primitive, or a seed node of a pack. */
const LINKED_INPUTS = ["seed", "noise_seed", "value", "int", "number"];

/** Every place of a graph that takes the job's seed. */
export function seedPlaces(graph: Graph): readonly SeedPlace[] {
  const places = new Map<string, SeedPlace>();
  for (const [nodeId, node] of Object.entries(graph)) {
    for (const input of SEED_INPUTS) {
      const place = placeOf(graph, nodeId, node.inputs[input], input);
      if (place !== undefined) places.set(`${place.nodeId}\n${place.input}`, place);
    }
  }
  return [...places.values()];
}

/** Whether every job of this graph is another one. */
export function isVaried(graph: Graph): boolean {
  return seedPlaces(graph).length > 0 || findTemplateVariables(graph).length > 0;
}

/** The graph without what differs between its jobs: what is the same in two runs of it. */
export function unseeded(graph: Graph): Graph {
  return withSeed(graph, seedPlaces(graph), 0);
}

/** Makes a job's graph; variables are {@link JOB_VARIABLES}, and nothing else. */
export function graphOfJob(graph: Graph): (job: PlannedJob) => Graph {
  const places = seedPlaces(graph);
  const hasVariables = findTemplateVariables(graph).length > 0;
  return ({ seed, index }) => {
    const seeded = withSeed(graph, places, seed);
    if (!hasVariables) return seeded;
    const filled = fillTemplate(seeded, { seed, index });
    return filled.kind === "graph" ? filled.graph : seeded;
  };
}

function withSeed(graph: Graph, places: readonly SeedPlace[], seed: number): Graph {
  return places.reduce((one, { nodeId, input }) => setInput(one, nodeId, input, seed), graph);
}

function placeOf(
  graph: Graph,
  nodeId: string,
  value: unknown,
  input: string,
): SeedPlace | undefined {
  if (isSeed(value)) return { nodeId, input };
  if (!isLink(value)) return undefined;
  const source = nodeOf(graph, value[0]);
  if (source === undefined) return undefined;
  const name = LINKED_INPUTS.find((one) => isSeed(inputOf(source, one)));
  return name === undefined ? undefined : { nodeId: value[0], input: name };
}

/** Long seeds come as text of their digits. */
function isSeed(value: unknown): boolean {
  return typeof value === "number" || (typeof value === "string" && /^\d{1,20}$/.test(value));
}
