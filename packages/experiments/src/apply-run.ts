import {
  applyPatch,
  fillTemplate,
  inputOf,
  isLink,
  nodeOf,
  rewireOutput,
  type Graph,
  type GraphLink,
  type GraphNode,
  type InputValue,
} from "@holdfast/comfyui/protocol";
import { invariant } from "@holdfast/runtime";
import type { ExperimentRun, LoraFill } from "./expansion/run.ts";
import { loraFile } from "./spec/options.ts";

/** What a LoraLoader puts out (nodes.py, 0.3.64), and the input that it is made of. */
const PASSED_ON = ["model", "clip"] as const;

/**
 * The graph of one run: its variables put in, then the inputs that it sets, then its LoRAs. The
 * graph is the plan's, which was checked for all of it; another one throws.
 */
export function applyRun(template: Graph, run: ExperimentRun): Graph {
  const filled = fillTemplate(template, run.variables);
  invariant(filled.kind === "graph", `${run.name} has not all values that the graph asks for`);
  const graph = applyPatch(filled.graph, { set: run.set });
  return run.loras.reduce((result, fill) => fillLoras(result, fill), graph);
}

/** Nodes take the LoRAs in their order; those left over are taken out of the graph. */
function fillLoras(graph: Graph, { nodes, stack }: LoraFill): Graph {
  const set = nodes.slice(0, stack.length).flatMap((nodeId, index): readonly InputValue[] => {
    const lora = stack[index];
    const node = nodeOf(graph, nodeId);
    invariant(lora !== undefined && node !== undefined, `no LoraLoader ${nodeId}`);
    const { weight, clipWeight = weight } = lora;
    return [
      { nodeId, input: "lora_name", value: loraFile(lora) },
      { nodeId, input: "strength_model", value: weight },
      ...(Object.hasOwn(node.inputs, "strength_clip")
        ? [{ nodeId, input: "strength_clip", value: clipWeight }]
        : []),
    ];
  });
  return nodes
    .slice(stack.length)
    .reduce((result, nodeId) => bypassed(result, nodeId), applyPatch(graph, { set }));
}

/** Whoever took an output of the node takes what the node was given. */
function bypassed(graph: Graph, nodeId: string): Graph {
  const node = nodeOf(graph, nodeId);
  invariant(node !== undefined, `no LoraLoader ${nodeId}`);
  const rewired = PASSED_ON.reduce((result, input, output) => {
    const source = linkOf(node, input);
    return source === undefined ? result : rewireOutput(result, [nodeId, output], source);
  }, graph);
  return applyPatch(rewired, { set: [], removeNodes: [nodeId] });
}

function linkOf(node: GraphNode, input: string): GraphLink | undefined {
  const value = inputOf(node, input);
  return isLink(value) ? value : undefined;
}
