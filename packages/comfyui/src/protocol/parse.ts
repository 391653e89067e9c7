import { assertNever } from "@holdfast/runtime";
import { isLink, type Graph } from "./graph.ts";
import { isRecord, member } from "./json-shape.ts";
import { createValueScan, type ValueProblem, type ValueScan } from "./value-scan.ts";
import { shapeOf } from "./walk.ts";

/** How large a graph may be. */
export interface GraphLimits {
  readonly maxNodes: number;
  /** Size of the graph as JSON, roughly (escapes are not counted). */
  readonly maxBytes: number;
  /** Nodes in the longest chain of links. */
  readonly maxChainLength: number;
  /** Lists and objects inside one another within one input. */
  readonly maxValueDepth: number;
  readonly maxNodeIdLength: number;
  readonly maxInputsPerNode: number;
}

/**
 * What we take without being told otherwise. ComfyUI 0.3.64 reads chains and nested values by
 * recursion, within Python's limit of 1000 frames. A chain that an output needs is refused beyond it;
 * one beside the outputs is accepted, and then ends the thread that runs prompts (F26): measured at
 * 1000 nodes, while 960 pass; values nested 900 deep do the same, 400 pass.
 */
export const DEFAULT_GRAPH_LIMITS: GraphLimits = {
  maxNodes: 5_000,
  maxBytes: 16 * 1024 * 1024,
  maxChainLength: 900,
  maxValueDepth: 64,
  maxNodeIdLength: 256,
  maxInputsPerNode: 2_000,
};

/** Why a graph is not taken. */
export type GraphRefusalCode =
  | "graph_not_object"
  | "graph_empty"
  | "graph_editor_format"
  | "graph_no_nodes"
  | "graph_bad_node"
  | "graph_bad_link"
  | "graph_dangling_link"
  | "graph_cyclic"
  | "graph_too_large"
  | "graph_too_deep";

/** A refusal: a code for programs, a message for people, the ids concerned in `details`. */
export interface GraphRefusal {
  readonly kind: "refused";
  readonly code: GraphRefusalCode;
  readonly message: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** What {@link parseGraph} answers. */
export type GraphParse = { readonly kind: "graph"; readonly graph: Graph } | GraphRefusal;

/** How many ids of a cycle a message spells out. */
const MAX_NAMED_IDS = 10;

/**
 * Reads an untrusted value as a graph. A graph that comes back is the same object, has at least one
 * node, only links to nodes it holds, and no cycle. Works without recursion, so no depth of nesting
 * and no length of chain can overflow the stack.
 */
export function parseGraph(value: unknown, limits: GraphLimits = DEFAULT_GRAPH_LIMITS): GraphParse {
  if (!isRecord(value)) {
    const found = value === null ? "null" : Array.isArray(value) ? "a list" : typeof value;
    return refused(
      "graph_not_object",
      `A graph is an object of nodes by id, in ComfyUI's API format; found ${found}.`,
    );
  }
  const ids = Object.keys(value);
  if (ids.length === 0) return refused("graph_empty", "The graph has no nodes.");
  const misplaced = recogniseOtherFormat(value);
  if (misplaced !== undefined) return misplaced;
  if (ids.length > limits.maxNodes) {
    return refused(
      "graph_too_large",
      `The graph has ${ids.length} nodes; at most ${limits.maxNodes} are taken.`,
      { nodes: ids.length, maxNodes: limits.maxNodes },
    );
  }
  if (!ids.some((id) => typeof member(value[id], "class_type") === "string")) {
    return refused(
      "graph_no_nodes",
      "No member of the graph is a node: a node is an object with class_type and inputs.",
    );
  }
  const scan = createValueScan(limits);
  for (const id of ids) {
    const problem = checkNode(id, value[id], limits, scan);
    if (problem !== undefined) return problem;
  }
  const graph = value as Graph;
  return checkLinks(graph) ?? checkShape(graph, limits) ?? { kind: "graph", graph };
}

function refused(
  code: GraphRefusalCode,
  message: string,
  details?: Readonly<Record<string, unknown>>,
): GraphRefusal {
  return { kind: "refused", code, message, ...(details !== undefined && { details }) };
}

/** The formats that people send by mistake, each with what to do instead. */
function recogniseOtherFormat(value: Readonly<Record<string, unknown>>): GraphRefusal | undefined {
  const nodes = member(value, "nodes");
  const isEditor =
    (Array.isArray(nodes) &&
      ["links", "last_node_id", "last_link_id", "version"].some((key) =>
        Object.hasOwn(value, key),
      )) ||
    typeof member(value, "last_node_id") === "number";
  if (isEditor) {
    return refused(
      "graph_editor_format",
      "This is a workflow as ComfyUI's editor saves it. Export it for programs instead: enable dev " +
        'mode in the settings, then use the menu "Workflow > Export (API)".',
      { format: "editor" },
    );
  }
  for (const key of ["prompt", "workflow", "extra_pnginfo", "extra_data", "graph", "output"]) {
    const inner = member(value, key);
    if (!isRecord(inner) || Object.hasOwn(inner, "class_type")) continue;
    if (key === "prompt" || key === "graph" || key === "output") {
      if (!Object.values(inner).some((node) => isRecord(node) && "class_type" in node)) continue;
    } else if (key === "workflow" && !Array.isArray(member(inner, "nodes"))) {
      continue;
    }
    return refused(
      "graph_editor_format",
      `The graph is wrapped in another object. Send the nodes by id themselves: the value of ` +
        `"${Object.hasOwn(value, "prompt") ? "prompt" : key}", or what "Workflow > Export (API)" ` +
        "saves (enable dev mode in ComfyUI's settings).",
      { format: "wrapped", key },
    );
  }
  return undefined;
}

function checkNode(
  id: string,
  node: unknown,
  limits: GraphLimits,
  scan: ValueScan,
): GraphRefusal | undefined {
  const bad = (what: string): GraphRefusal =>
    refused("graph_bad_node", `Node ${JSON.stringify(id.slice(0, 80))} ${what}.`, {
      nodeId: id.slice(0, limits.maxNodeIdLength),
    });
  if (id === "" || id.length > limits.maxNodeIdLength) {
    return bad(`has an id of ${id.length} characters; 1 to ${limits.maxNodeIdLength} are taken`);
  }
  if (id === "__proto__") return bad("has an id that is not taken");
  if (!isRecord(node)) return bad("is no object with class_type and inputs");
  const classType = member(node, "class_type");
  if (typeof classType !== "string" || classType === "") return bad("has no class_type");
  const inputs = member(node, "inputs");
  if (!isRecord(inputs)) return bad("has no inputs object");
  const inputCount = Object.keys(inputs).length;
  if (inputCount > limits.maxInputsPerNode) {
    return bad(`has ${inputCount} inputs; at most ${limits.maxInputsPerNode} are taken`);
  }
  const problem = scan.add(id) ?? scan.add(node);
  return problem === undefined ? undefined : tellProblem(problem, id, limits);
}

function tellProblem(problem: ValueProblem, id: string, limits: GraphLimits): GraphRefusal {
  const node = `Node ${JSON.stringify(id)}`;
  const bad = (what: string): GraphRefusal =>
    refused("graph_bad_node", `${node} ${what}.`, { nodeId: id });
  switch (problem) {
    case "too_large":
      return refused(
        "graph_too_large",
        `The graph is larger than ${limits.maxBytes} bytes; put large data into input files.`,
        { maxBytes: limits.maxBytes },
      );
    case "too_deep":
      return refused(
        "graph_too_deep",
        `${node} holds values nested deeper than ${limits.maxValueDepth} levels.`,
        { nodeId: id, maxValueDepth: limits.maxValueDepth },
      );
    case "reserved_key":
      return bad('has a key "__proto__", which is not taken');
    case "bad_text":
      return bad("holds text with a NUL character or half a surrogate pair");
    case "bad_value":
      return bad("holds a value that JSON does not have, or a number beyond every float");
    default:
      return assertNever(problem);
  }
}

function checkLinks(graph: Graph): GraphRefusal | undefined {
  for (const [nodeId, node] of Object.entries(graph)) {
    for (const [input, value] of Object.entries(node.inputs)) {
      if (!Array.isArray(value)) continue;
      const where = `Input "${input}" of node ${JSON.stringify(nodeId)}`;
      if (isLink(value)) {
        if (!Number.isInteger(value[1]) || value[1] < 0) {
          return refused(
            "graph_bad_link",
            `${where} links to output ${value[1]}; an output is a whole number from 0.`,
            { nodeId, input, found: value },
          );
        }
        if (!Object.hasOwn(graph, value[0])) {
          return refused(
            "graph_dangling_link",
            `${where} links to node ${JSON.stringify(value[0])}, which the graph does not have.`,
            { nodeId, input, missingNodeId: value[0] },
          );
        }
      } else if (looksLikeLink(graph, value)) {
        return refused(
          "graph_bad_link",
          `${where} looks like a link but is none: a link is [node id as text, output as number], ` +
            `for example ["${String(value[0])}", 0].`,
          { nodeId, input, found: value },
        );
      }
    }
  }
  return undefined;
}

/**
 * Lists that are no links may be plain values (`[512, 768]`), which only the node's declaration can
 * judge. Only what names an existing node is taken for a link gone wrong.
 */
function looksLikeLink(graph: Graph, value: readonly unknown[]): boolean {
  const [first, second] = value;
  if (value.length === 1) return typeof first === "string" && Object.hasOwn(graph, first);
  if (value.length !== 2) return false;
  if (typeof first === "number") return Object.hasOwn(graph, String(first));
  return (
    typeof first === "string" &&
    Object.hasOwn(graph, first) &&
    (typeof second === "string" ? /^\d+$/.test(second) || second === "" : !isRecord(second))
  );
}

function checkShape(graph: Graph, limits: GraphLimits): GraphRefusal | undefined {
  const { cycle, longestChain } = shapeOf(graph);
  if (cycle !== undefined) {
    const named = cycle.slice(0, MAX_NAMED_IDS);
    const rest = cycle.length > named.length ? [`… (${cycle.length} nodes)`] : [];
    return refused(
      "graph_cyclic",
      `The graph goes round in a circle: ${[...named, ...rest, cycle[0]].join(" → ")}.`,
      { nodeIds: cycle.slice(0, 100), length: cycle.length },
    );
  }
  if (longestChain > limits.maxChainLength) {
    return refused(
      "graph_too_deep",
      `The longest chain has ${longestChain} nodes; at most ${limits.maxChainLength} can be validated.`,
      { chainLength: longestChain, maxChainLength: limits.maxChainLength },
    );
  }
  return undefined;
}
