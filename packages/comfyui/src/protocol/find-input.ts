import { inputOf, nodeOf, type Graph } from "./graph.ts";
import type { InputValue } from "./variables.ts";

/**
 * The place that `node.input` names in a graph (`3.seed`); undefined when there is none. Node ids and
 * input names may hold dots themselves: the last dot that gives an existing node and an input of it
 * counts, wherever people write such a name.
 */
export function findInput(graph: Graph, name: string): Omit<InputValue, "value"> | undefined {
  for (let dot = name.lastIndexOf("."); dot > 0; dot = name.lastIndexOf(".", dot - 1)) {
    const nodeId = name.slice(0, dot);
    const input = name.slice(dot + 1);
    const node = nodeOf(graph, nodeId);
    if (node !== undefined && inputOf(node, input) !== undefined) return { nodeId, input };
  }
  return undefined;
}
