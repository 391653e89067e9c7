import { invariant } from "@holdfast/runtime";
import { isLink, nodeOf, type Graph } from "./graph.ts";

/** One link of a graph, seen from both ends. */
export interface GraphEdge {
  readonly fromId: string;
  readonly fromOutput: number;
  readonly toId: string;
  readonly input: string;
}

/** Every link of a graph, in the order of the nodes and of their inputs. */
export function links(graph: Graph): readonly GraphEdge[] {
  const edges: GraphEdge[] = [];
  for (const [toId, node] of Object.entries(graph)) {
    for (const [input, value] of Object.entries(node.inputs)) {
      if (isLink(value)) edges.push({ fromId: value[0], fromOutput: value[1], toId, input });
    }
  }
  return edges;
}

/** Everything that needs the node's outputs, directly or not; the node itself is not in it. */
export function dependentsOf(graph: Graph, nodeId: string): ReadonlySet<string> {
  const forward = new Map<string, string[]>();
  for (const edge of links(graph)) append(forward, edge.fromId, edge.toId);
  return reach([nodeId], forward);
}

/** Everything the node needs, directly or not; the node itself is not in it. */
export function ancestorsOf(graph: Graph, nodeId: string): ReadonlySet<string> {
  return reach([nodeId], sourcesByNode(graph));
}

/**
 * The graph's ids, sources before what they feed; among equals in the order of the graph. Throws on
 * a cycle, which `parseGraph` refuses.
 */
export function topologicalOrder(graph: Graph): readonly string[] {
  const order = partialOrder(graph);
  invariant(order.length === Object.keys(graph).length, "topologicalOrder of a cyclic graph");
  return order;
}

/** The ids of one cycle, each feeding the next and the last the first; undefined when there is none. */
export function findCycle(graph: Graph): readonly string[] | undefined {
  const order = partialOrder(graph);
  const ids = Object.keys(graph);
  if (order.length === ids.length) return undefined;
  const placed = new Set(order);
  const sources = sourcesByNode(graph);
  // Every node left over has a source left over: going backwards must come round.
  const seenAt = new Map<string, number>();
  const path: string[] = [];
  let current = ids.find((id) => !placed.has(id));
  while (current !== undefined && !seenAt.has(current)) {
    seenAt.set(current, path.length);
    path.push(current);
    current = (sources.get(current) ?? []).find(
      (id) => !placed.has(id) && nodeOf(graph, id) !== undefined,
    );
  }
  invariant(current !== undefined, "a node left over has no source left over");
  return path.slice(seenAt.get(current)).reverse();
}

/** How many nodes the longest chain of links has; 0 for an empty graph. Throws on a cycle. */
export function chainLength(graph: Graph): number {
  const sources = sourcesByNode(graph);
  const lengths = new Map<string, number>();
  let longest = 0;
  for (const id of topologicalOrder(graph)) {
    let before = 0;
    for (const source of sources.get(id) ?? []) before = Math.max(before, lengths.get(source) ?? 0);
    lengths.set(id, before + 1);
    longest = Math.max(longest, before + 1);
  }
  return longest;
}

/** The graph cut down to the given outputs and what they need. Ids it does not hold are ignored. */
export function pruneTo(graph: Graph, outputIds: Iterable<string>): Graph {
  const wanted = [...outputIds].filter((id) => nodeOf(graph, id) !== undefined);
  const kept = new Set([...wanted, ...reach(wanted, sourcesByNode(graph))]);
  return Object.fromEntries(Object.entries(graph).filter(([id]) => kept.has(id)));
}

/** Kahn's algorithm: as much of the order as there is; shorter than the graph when it has a cycle. */
function partialOrder(graph: Graph): readonly string[] {
  const waitingFor = new Map<string, number>();
  const forward = new Map<string, string[]>();
  for (const id of Object.keys(graph)) waitingFor.set(id, 0);
  for (const { fromId, toId } of links(graph)) {
    if (nodeOf(graph, fromId) === undefined) continue;
    waitingFor.set(toId, (waitingFor.get(toId) ?? 0) + 1);
    append(forward, fromId, toId);
  }
  const order = [...waitingFor].filter(([, count]) => count === 0).map(([id]) => id);
  for (let next = 0; next < order.length; next += 1) {
    for (const id of forward.get(order[next] ?? "") ?? []) {
      const left = (waitingFor.get(id) ?? 0) - 1;
      waitingFor.set(id, left);
      if (left === 0) order.push(id);
    }
  }
  return order;
}

function sourcesByNode(graph: Graph): ReadonlyMap<string, readonly string[]> {
  const sources = new Map<string, string[]>();
  for (const edge of links(graph)) append(sources, edge.toId, edge.fromId);
  return sources;
}

function reach(
  start: readonly string[],
  next: ReadonlyMap<string, readonly string[]>,
): ReadonlySet<string> {
  const seen = new Set<string>();
  const stack = [...start];
  for (let id = stack.pop(); id !== undefined; id = stack.pop()) {
    for (const other of next.get(id) ?? []) {
      if (seen.has(other)) continue;
      seen.add(other);
      stack.push(other);
    }
  }
  for (const id of start) seen.delete(id);
  return seen;
}

function append(map: Map<string, string[]>, key: string, value: string): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
