import { invariant } from "@holdfast/runtime";
import { canonicalJson } from "./canonical.ts";
import { nodeOf, type Graph, type GraphNode } from "./graph.ts";

/** What to change in a graph to get another; absent members change nothing. */
export interface GraphPatch {
  readonly set: readonly InputValue[];
  readonly unset?: readonly { readonly nodeId: string; readonly input: string }[];
  readonly putNodes?: readonly { readonly nodeId: string; readonly node: GraphNode }[];
  readonly removeNodes?: readonly string[];
}

/** One input of one node, and its value. */
export interface InputValue {
  readonly nodeId: string;
  readonly input: string;
  readonly value: unknown;
}

/**
 * Inputs that usually differ between the jobs of one batch. A value under one of these names never
 * decides which nodes run, only what they make; taking too few costs space, never correctness.
 */
const VARIABLE_INPUTS: ReadonlySet<string> = new Set([
  "batch_size",
  "cfg",
  "color",
  "denoise",
  "filename_prefix",
  "guidance",
  "height",
  "image",
  "negative_prompt",
  "noise_seed",
  "positive_prompt",
  "prompt",
  "seed",
  "steps",
  "strength_clip",
  "strength_model",
  "text",
  "text_g",
  "text_l",
  "width",
]);

/**
 * Splits a graph into a template that many jobs share and the values of this one. In the template
 * each scalar (text, number, boolean) under a name that usually varies is null; `applyPatch` of both
 * gives back the graph exactly, the order of its keys included.
 */
export function extractVariables(graph: Graph): {
  readonly template: Graph;
  readonly patch: GraphPatch;
} {
  const set: InputValue[] = [];
  const entries = Object.entries(graph).map(([nodeId, node]): [string, GraphNode] => {
    const before = set.length;
    const inputs = Object.entries(node.inputs).map(([input, value]): [string, unknown] => {
      if (!VARIABLE_INPUTS.has(input) || !isScalar(value)) return [input, value];
      set.push({ nodeId, input, value });
      return [input, null];
    });
    return [nodeId, set.length > before ? { ...node, inputs: Object.fromEntries(inputs) } : node];
  });
  return { template: Object.fromEntries(entries), patch: { set } };
}

/** Applies a patch. Throws when it names a node that the graph does not have. */
export function applyPatch(graph: Graph, patch: GraphPatch): Graph {
  const result: Record<string, GraphNode> = { ...graph };
  for (const nodeId of patch.removeNodes ?? []) delete result[nodeId];
  for (const { nodeId, node } of patch.putNodes ?? []) result[nodeId] = node;
  const touched = new Map<string, Record<string, unknown>>();
  const inputsOf = (nodeId: string): Record<string, unknown> => {
    const known = touched.get(nodeId);
    if (known !== undefined) return known;
    const node = nodeOf(result, nodeId);
    invariant(node !== undefined, `a patch names node ${nodeId}, which the graph does not have`);
    const inputs = { ...node.inputs };
    touched.set(nodeId, inputs);
    result[nodeId] = { ...node, inputs };
    return inputs;
  };
  for (const { nodeId, input, value } of patch.set) inputsOf(nodeId)[input] = value;
  for (const { nodeId, input } of patch.unset ?? []) delete inputsOf(nodeId)[input];
  return result;
}

/**
 * The smallest patch by inputs that makes `from` into `to`: `applyPatch(from, patch)` equals `to`
 * but for the order of keys. A node that differs in more than its inputs is put whole.
 */
export function diffGraph(from: Graph, to: Graph): GraphPatch {
  const set: InputValue[] = [];
  const unset: { nodeId: string; input: string }[] = [];
  const putNodes: { nodeId: string; node: GraphNode }[] = [];
  for (const [nodeId, node] of Object.entries(to)) {
    const old = nodeOf(from, nodeId);
    if (old === undefined || !sameBesidesInputs(old, node)) {
      putNodes.push({ nodeId, node });
      continue;
    }
    for (const [input, value] of Object.entries(node.inputs)) {
      if (!Object.hasOwn(old.inputs, input) || !same(old.inputs[input], value)) {
        set.push({ nodeId, input, value });
      }
    }
    for (const input of Object.keys(old.inputs)) {
      if (!Object.hasOwn(node.inputs, input)) unset.push({ nodeId, input });
    }
  }
  const removeNodes = Object.keys(from).filter((nodeId) => nodeOf(to, nodeId) === undefined);
  return {
    set,
    ...(unset.length > 0 && { unset }),
    ...(putNodes.length > 0 && { putNodes }),
    ...(removeNodes.length > 0 && { removeNodes }),
  };
}

function isScalar(value: unknown): boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

function same(a: unknown, b: unknown): boolean {
  return a === b || canonicalJson(a) === canonicalJson(b);
}

function sameBesidesInputs(a: GraphNode, b: GraphNode): boolean {
  return same({ ...a, inputs: {} }, { ...b, inputs: {} });
}
