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
