/** From prompt and parameters to the graph that runs: what fits nothing becomes a warning. Pure. */
import { applyPatch, type Graph, type InputValue } from "@holdfast/comfyui/protocol";
import { findPositiveTexts, placesOfParameter, type SamplingParameters } from "@holdfast/recovery";
import { applyOverrides } from "../jobs/overrides.ts";

/** A graph with everything in its place, and what found none. */
export interface Composed {
  readonly graph: Graph;
  readonly warnings: readonly string[];
}

/** A parameter whose value can be nothing anywhere. */
export interface BadParameter {
  readonly name: string;
  readonly message: string;
}

const PROMPT_MARK = "{{prompt}}";
/** Names of parameters, and what each is in a graph. */
const NAMES: Readonly<Record<string, keyof SamplingParameters>> = {
  batch_size: "batch_size",
  width: "width",
  height: "height",
  num_inference_steps: "num_inference_steps",
  steps: "num_inference_steps",
  seed: "seed",
  cfg: "cfg",
  model: "model",
};
/** Largest whole number that a size, a batch or a count of steps may be. */
const MAX_COUNT = 1_000_000;
const MAX_MODEL_NAME = 512;
const SEED_TEXT = /^[0-9]{1,20}$/;

/** The first parameter with a value that is wrong whatever the graph is; undefined when all may do. */
export function findBadParameter(
  parameters: Readonly<Record<string, unknown>>,
): BadParameter | undefined {
  for (const [name, value] of Object.entries(parameters)) {
    const known = Object.hasOwn(NAMES, name) ? NAMES[name] : undefined;
    if (known === undefined || value === null) continue;
    const expected = expectedOf(known, value);
    if (expected !== undefined) {
      return {
        name,
        message: `expected ${expected}, found ${JSON.stringify(value)?.slice(0, 100)}`,
      };
    }
  }
  return undefined;
}

/** What a value should have been; undefined when it is that. */
function expectedOf(name: keyof SamplingParameters, value: unknown): string | undefined {
  switch (name) {
    case "model":
      return typeof value === "string" && value.trim() !== "" && value.length <= MAX_MODEL_NAME
        ? undefined
        : "the name of a model file";
    case "seed":
      return (Number.isSafeInteger(value) && Number(value) >= 0) ||
        (typeof value === "string" && SEED_TEXT.test(value))
        ? undefined
        : "a whole number from 0";
    case "cfg":
      return typeof value === "number" && value >= 0 ? undefined : "a number from 0";
    default:
      return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= MAX_COUNT
        ? undefined
        : `a whole number, 1 to ${MAX_COUNT}`;
  }
}

/**
 * Puts prompt and parameters into a graph. A prompt takes the place of every `{{prompt}}`, or, where
 * there is none, of the text that feeds the sampler's positive input.
 */
export function composeGraph(
  graph: Graph,
  prompt: string | null,
  parameters: Readonly<Record<string, unknown>>,
): Composed {
  const warnings: string[] = [];
  let composed = graph;
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null) continue;
    const placed = placeParameter(composed, name, value);
    if (typeof placed === "string") warnings.push(placed);
    else composed = placed;
  }
  if (prompt === null) return { graph: composed, warnings };
  // Last, and against the caller's own graph: a parameter's value is no place for a mark.
  const set = promptPlaces(graph, prompt);
  if (set.length === 0) {
    warnings.push(
      `prompt: the graph has no ${PROMPT_MARK} and no text that feeds a sampler's positive input; it runs with its own words`,
    );
    return { graph: composed, warnings };
  }
  return { graph: applyPatch(composed, { set }), warnings };
}

/** The graph with the value in it, or the warning that it fits nothing. */
function placeParameter(graph: Graph, name: string, value: unknown): Graph | string {
  const known = Object.hasOwn(NAMES, name) ? NAMES[name] : undefined;
  if (known !== undefined) {
    const places = placesOfParameter(graph, known);
    if (places.length === 0) return `${name}: the graph has no place for it; it was left out`;
    return applyPatch(graph, { set: places.map((place) => ({ ...place, value })) });
  }
  const applied = applyOverrides(graph, { [name]: value });
  if (applied.kind === "applied") return applied.graph;
  const why = name.includes(".")
    ? applied.reason
    : `it is none of ${Object.keys(NAMES).join(", ")}, nor node.input`;
  return `${name}: ${why}; it was left out`;
}

function promptPlaces(graph: Graph, prompt: string): InputValue[] {
  const marked = Object.entries(graph).flatMap(([nodeId, node]) =>
    Object.entries(node.inputs).flatMap(([input, value]) =>
      typeof value === "string" && value.includes(PROMPT_MARK)
        ? // Not by a pattern: "$&" in a prompt is the caller's own text.
          [{ nodeId, input, value: value.split(PROMPT_MARK).join(prompt) }]
        : [],
    ),
  );
  if (marked.length > 0) return marked;
  return findPositiveTexts(graph).map((place) => ({ ...place, value: prompt }));
}
