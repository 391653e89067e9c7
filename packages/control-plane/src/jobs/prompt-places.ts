import type { Graph, InputValue } from "@holdfast/comfyui/protocol";
import { findPositiveTexts } from "@holdfast/recovery";

const PROMPT_MARK = "{{prompt}}";

/** The warning for a prompt that fits nowhere. */
export const NO_PLACE_FOR_PROMPT = `prompt: the graph has no ${PROMPT_MARK} and no text that feeds a sampler's positive input; it runs with its own words`;

/**
 * What a prompt changes in a graph: every text with `{{prompt}}` in it, or, where there is none, the
 * text that feeds the sampler's positive input. Empty where the graph has neither.
 */
export function placePrompt(graph: Graph, prompt: string): readonly InputValue[] {
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
