import {
  applyPatch,
  findInput,
  nodeOf,
  type Graph,
  type InputValue,
} from "@holdfast/comfyui/protocol";

/** What overrides came to: the changed graph, or the first that fits nothing. */
export type OverridesApplied =
  | { readonly kind: "applied"; readonly graph: Graph }
  | { readonly kind: "unmatched"; readonly name: string; readonly reason: string };

/** Puts values into a graph by `node.input` (`{"3.seed": 7}`). */
export function applyOverrides(
  graph: Graph,
  overrides: Readonly<Record<string, unknown>>,
): OverridesApplied {
  const set: InputValue[] = [];
  for (const [name, value] of Object.entries(overrides)) {
    const place = findInput(graph, name);
    if (place === undefined) {
      return { kind: "unmatched", name, reason: explainMiss(graph, name) };
    }
    set.push({ ...place, value });
  }
  return { kind: "applied", graph: set.length === 0 ? graph : applyPatch(graph, { set }) };
}

/** How many names a message lists. */
const NAMES_SHOWN = 10;

/** Why a name fits nothing in a graph, with what there is. */
export function explainMiss(graph: Graph, name: string): string {
  const dot = name.lastIndexOf(".");
  if (dot <= 0) return `"${name}" is not of the form node.input, for example 3.seed`;
  const nodeId = name.slice(0, dot);
  const node = nodeOf(graph, nodeId);
  if (node === undefined) {
    return `the graph has no node "${nodeId}"; its nodes are ${listed(Object.keys(graph))}`;
  }
  const inputs = listed(Object.keys(node.inputs));
  return `node ${nodeId} (${node.class_type}) has no input "${name.slice(dot + 1)}"; its inputs are ${inputs}`;
}

function listed(names: readonly string[]): string {
  if (names.length === 0) return "none";
  const shown = names.slice(0, NAMES_SHOWN).join(", ");
  return names.length > NAMES_SHOWN ? `${shown}, … (${names.length})` : shown;
}
