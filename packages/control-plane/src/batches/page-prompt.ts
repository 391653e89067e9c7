/** What a page is a picture of, in the words it was asked for with. Pure. */
import { parseGraph } from "@holdfast/comfyui/protocol";
import { findPositiveTexts } from "@holdfast/recovery";

/** Gives a page's prompt by its values; null where its graph has none, or hides it. */
export type PromptOf = (overrides: Readonly<Record<string, unknown>>) => string | null;

/**
 * Finds where a graph of a book has its prompt: the text that feeds the sampler's positive input. A page's
 * own value for that input goes before the graph's.
 */
export function findPrompt(graph: unknown): PromptOf {
  const parsed = parseGraph(graph);
  if (parsed.kind !== "graph") return () => null;
  const places = findPositiveTexts(parsed.graph).map(({ nodeId, input }) => ({
    name: `${nodeId}.${input}`,
    own: parsed.graph[nodeId]?.inputs[input],
  }));
  return (overrides) => {
    for (const { name, own } of places) {
      const text = overrides[name] ?? own;
      if (typeof text === "string" && text.trim() !== "") return text.trim();
    }
    return null;
  };
}
