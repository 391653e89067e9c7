export type { Graph, GraphLink, GraphNode } from "./graph.ts";
