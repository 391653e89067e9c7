import { invariant } from "@holdfast/runtime";
import { isLink, nodeOf, type Graph, type GraphLink, type GraphNode } from "./graph.ts";

/**
 * The graph with every link that takes output `from` taking output `to` instead, except in the
 * nodes of `except`.
 */
export function rewireOutput(
  graph: Graph,
  from: GraphLink,
  to: GraphLink,
  except: ReadonlySet<string> = new Set(),
): Graph {
  return mapLinks(graph, (link, nodeId) =>
    !except.has(nodeId) && link[0] === from[0] && link[1] === from[1] ? to : link,
  );
}

/**
 * Puts a new node behind an output: whoever took `source` takes output `outputIndex` of the new node.
 * The new node's own inputs stay as given, so it may take `source` itself. The id must be free.
 */
export function insertNodeAfter(
  graph: Graph,
  source: GraphLink,
  nodeId: string,
  node: GraphNode,
  outputIndex = 0,
): Graph {
  invariant(nodeOf(graph, nodeId) === undefined, `node id ${nodeId} is taken`);
  return { ...rewireOutput(graph, source, [nodeId, outputIndex]), [nodeId]: node };
}

/**
 * The graph with other ids, links included. Throws when two nodes would get the same id. A link to
 * an id that the graph does not hold stays as it is.
 */
export function renameNodes(graph: Graph, rename: (nodeId: string) => string): Graph {
  const names = new Map(Object.keys(graph).map((id) => [id, rename(id)]));
  invariant(new Set(names.values()).size === names.size, "two nodes renamed to the same id");
  const relinked = mapLinks(graph, (link) => [names.get(link[0]) ?? link[0], link[1]]);
  return Object.fromEntries(
    Object.entries(relinked).map(([id, node]) => [names.get(id) ?? id, node]),
  );
}

/**
 * An id that no node of the graph has: one above its largest whole number, or, with a prefix,
 * `<prefix><n>` with the smallest free n from 1.
 */
export function freshNodeId(graph: Graph, prefix = ""): string {
  if (prefix !== "") {
    let n = 1;
    while (nodeOf(graph, `${prefix}${n}`) !== undefined) n += 1;
    return `${prefix}${n}`;
  }
  let largest = 0;
  for (const id of Object.keys(graph)) {
    const number = /^\d{1,15}$/.test(id) ? Number(id) : 0;
    largest = Math.max(largest, number);
  }
  return String(largest + 1);
}

/** The graph with one input set; other nodes and inputs stay the same objects. */
export function setInput(graph: Graph, nodeId: string, input: string, value: unknown): Graph {
  const node = nodeOf(graph, nodeId);
  invariant(node !== undefined, `no node ${nodeId}`);
  return { ...graph, [nodeId]: { ...node, inputs: { ...node.inputs, [input]: value } } };
}

/** The node with every link of its inputs mapped; the same object when none changed. */
export function relinkNode(node: GraphNode, map: (link: GraphLink) => GraphLink): GraphNode {
  let changed = false;
  const inputs = Object.entries(node.inputs).map(([name, value]): [string, unknown] => {
    if (!isLink(value)) return [name, value];
    const next = map(value);
    if (next[0] === value[0] && next[1] === value[1]) return [name, value];
    changed = true;
    return [name, next];
  });
  return changed ? { ...node, inputs: Object.fromEntries(inputs) } : node;
}

function mapLinks(graph: Graph, map: (link: GraphLink, nodeId: string) => GraphLink): Graph {
  return Object.fromEntries(
    Object.entries(graph).map(([id, node]) => [id, relinkNode(node, (link) => map(link, id))]),
  );
}
