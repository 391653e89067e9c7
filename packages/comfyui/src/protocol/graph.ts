/**
 * A workflow in ComfyUI's API format, as `POST /prompt` takes it: nodes by id. Ids are text and may
 * hold a colon (`12:3`, a node of a subgraph). Unknown keys are kept as they came.
 */
export type Graph = Readonly<Record<string, GraphNode>>;

/** One node of a {@link Graph}. */
export interface GraphNode {
  readonly class_type: string;
  readonly inputs: Readonly<Record<string, unknown>>;
  readonly _meta?: { readonly title?: string; readonly [key: string]: unknown };
  readonly [key: string]: unknown;
}

/** A link in an input: `[id of the source node, index of its output]`. */
export type GraphLink = readonly [nodeId: string, outputIndex: number];

/**
 * Whether ComfyUI takes an input's value for a link: a list of two, text and then a number
 * (`is_link` in comfy_execution/graph_utils.py, 0.3.64). The number may still be no valid index;
 * in a graph that `parseGraph` let through it always is.
 */
export function isLink(value: unknown): value is GraphLink {
  return (
    Array.isArray(value) &&
    value.length === 2 &&
    typeof value[0] === "string" &&
    typeof value[1] === "number"
  );
}

/** The node of that id, or undefined; an id like `constructor` finds nothing by accident. */
export function nodeOf(graph: Graph, nodeId: string): GraphNode | undefined {
  return Object.hasOwn(graph, nodeId) ? graph[nodeId] : undefined;
}

/** An input's value, or undefined; see {@link nodeOf}. */
export function inputOf(node: GraphNode, input: string): unknown {
  return Object.hasOwn(node.inputs, input) ? node.inputs[input] : undefined;
}
