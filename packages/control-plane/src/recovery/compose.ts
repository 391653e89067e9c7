/** From prompt and parameters to the graph that runs: what fits nothing becomes a warning. Pure. */
import { applyPatch, type Graph } from "@holdfast/comfyui/protocol";
import { placesOfParameter, type SamplingParameters } from "@holdfast/recovery";
import { applyOverrides } from "../jobs/overrides.ts";
import { NO_PLACE_FOR_PROMPT, placePrompt } from "../jobs/prompt-places.ts";

/** A graph with everything in its place, and what found none. */
export interface Composed {
  readonly graph: Graph;
  readonly warnings: readonly string[];
}

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
/** Warnings told of; a caller who is wrong more often knows by then. */
const MAX_WARNINGS = 50;
/** Characters of a name that a warning shows. */
const NAME_SHOWN = 100;

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
    if (value === null || value === undefined) continue;
    const placed = placeParameter(composed, name, value);
    if (typeof placed !== "string") composed = placed;
    else if (warnings.length < MAX_WARNINGS) warnings.push(placed);
  }
  if (prompt === null) return { graph: composed, warnings };
  // Last, and against the caller's own graph: a parameter's value is no place for a mark.
  const set = placePrompt(graph, prompt);
  if (set.length === 0) {
    warnings.push(NO_PLACE_FOR_PROMPT);
    return { graph: composed, warnings };
  }
  return { graph: applyPatch(composed, { set }), warnings };
}

/** The graph with the value in it, or the warning that it fits nothing. */
function placeParameter(graph: Graph, name: string, value: unknown): Graph | string {
  const known = Object.hasOwn(NAMES, name) ? NAMES[name] : undefined;
  if (known !== undefined) {
    const places = placesOfParameter(graph, known);
    if (places.length === 0) return warningOf(name, "the graph has no place for it");
    return applyPatch(graph, { set: places.map((place) => ({ ...place, value })) });
  }
  const applied = applyOverrides(graph, { [name]: value });
  if (applied.kind === "applied") return applied.graph;
  const why = name.includes(".")
    ? applied.reason
    : `it is none of ${Object.keys(NAMES).join(", ")}, nor node.input`;
  return warningOf(name, why);
}

function warningOf(name: string, why: string): string {
  return `${name.slice(0, NAME_SHOWN)}: ${why}; it was left out`;
}
