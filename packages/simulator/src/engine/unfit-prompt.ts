import type { PostedGraph } from "./validation.ts";

/**
 * What ComfyUI 0.3.64 accepts and cannot run: it raises before the first node, outside of any `try`,
 * which ends the thread that runs prompts (measured; execution.py `execute_async`). Null: it can.
 */
export function unfitExtraData(extraData: unknown): string | null {
  const holdsKeys = typeof extraData === "string" || isRecord(extraData);
  return holdsKeys || Array.isArray(extraData) ? null : "extra_data is no object";
}

/** The same for the nodes beside the outputs, which no validation looks at. */
export function unfitGraph(graph: PostedGraph): string | null {
  for (const [id, node] of Object.entries(graph)) {
    if (!isRecord(node.inputs)) return `node ${id} has no inputs object`;
  }
  return null;
}

/** True for an object with keys. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
