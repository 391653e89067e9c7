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
  const { order, ids } = layOut(graph);
  invariant(order.length === ids.length, "topologicalOrder of a cyclic graph");
  return order.map((index) => ids[index] ?? "");
}

/** The ids of one cycle, each feeding the next and the last the first; undefined when there is none. */
export function findCycle(graph: Graph): readonly string[] | undefined {
  return shapeOf(graph).cycle;
}

/** How many nodes the longest chain of links has; 0 for an empty graph. Throws on a cycle. */
export function chainLength(graph: Graph): number {
  const { cycle, longestChain } = shapeOf(graph);
  invariant(cycle === undefined, "chainLength of a cyclic graph");
  return longestChain;
}

/** Whether a graph goes round in a circle, and otherwise how long its longest chain is, in nodes. */
export function shapeOf(graph: Graph): {
  readonly cycle: readonly string[] | undefined;
  readonly longestChain: number;
} {
  const { ids, order, sources, longestChain } = layOut(graph);
  if (order.length === ids.length) return { cycle: undefined, longestChain };
  const placed = new Set(order);
  const left = ids.flatMap((_, index) => (placed.has(index) ? [] : [index]));
  // Every node left over has a source left over: going backwards must come round.
  const seenAt = new Map<number, number>();
  const path: number[] = [];
  let current = left[0];
  while (current !== undefined && !seenAt.has(current)) {
    seenAt.set(current, path.length);
    path.push(current);
    current = sources[current]?.find((index) => !placed.has(index));
  }
  invariant(current !== undefined, "a node left over has no source left over");
  const cycle = path.slice(seenAt.get(current)).reverse();
  return { cycle: cycle.map((index) => ids[index] ?? ""), longestChain };
}

/** The graph cut down to the given outputs and what they need. Ids it does not hold are ignored. */
export function pruneTo(graph: Graph, outputIds: Iterable<string>): Graph {
  const wanted = [...outputIds].filter((id) => nodeOf(graph, id) !== undefined);
  const kept = new Set([...wanted, ...reach(wanted, sourcesByNode(graph))]);
  return Object.fromEntries(Object.entries(graph).filter(([id]) => kept.has(id)));
}

/** A graph by the positions of its nodes, which is what makes hundreds of thousands bearable. */
interface Layout {
  readonly ids: readonly string[];
  /** Sources first; shorter than `ids` when there is a cycle. */
  readonly order: readonly number[];
  /** By node: where its links come from. Links to nodes that are not there are left out. */
  readonly sources: readonly (readonly number[])[];
  readonly longestChain: number;
}

/** Kahn's algorithm, as far as it gets. */
function layOut(graph: Graph): Layout {
  const ids = Object.keys(graph);
  const positions = new Map(ids.map((id, index) => [id, index]));
  const sources: number[][] = [];
  const targets: number[][] = ids.map(() => []);
  for (const [index, id] of ids.entries()) {
    const from: number[] = [];
    for (const value of Object.values(nodeOf(graph, id)?.inputs ?? {})) {
      const source = isLink(value) ? positions.get(value[0]) : undefined;
      if (source === undefined) continue;
      from.push(source);
      targets[source]?.push(index);
    }
    sources.push(from);
  }
  const waitingFor = sources.map((from) => from.length);
  const chain = ids.map(() => 1);
  const order = ids.flatMap((_, index) => (waitingFor[index] === 0 ? [index] : []));
  let longestChain = 0;
  for (let next = 0; next < order.length; next += 1) {
    const index = order[next] ?? 0;
    const length = chain[index] ?? 1;
    longestChain = Math.max(longestChain, length);
    for (const target of targets[index] ?? []) {
      chain[target] = Math.max(chain[target] ?? 1, length + 1);
      const left = (waitingFor[target] ?? 0) - 1;
      waitingFor[target] = left;
      if (left === 0) order.push(target);
    }
  }
  return { ids, order, sources, longestChain };
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
