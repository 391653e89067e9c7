import { checkInput, type Finding, type NodeCheck } from "./check-input.ts";
import { nodeOf, type Graph } from "./graph.ts";
import { classInfo, type InputSpec, type ObjectInfo } from "./object-info.ts";
import { mostSimilar } from "./similar.ts";
import type { ValidationIssue } from "./validation-issue.ts";
import { dependentsOf, pruneTo } from "./walk.ts";

/** More issues than this are not collected. */
const MAX_ISSUES = 200;

/**
 * Checks a parsed graph against what an instance declares, as `validate_prompt` in execution.py
 * (0.3.64) does: only nodes that an output needs, except that an unknown class anywhere refuses all.
 * Never calls certain what ComfyUI accepts. An empty list: no objection known.
 */
export function validateGraph(graph: Graph, objectInfo: ObjectInfo): readonly ValidationIssue[] {
  const unknown = Object.entries(graph).filter(
    ([, node]) => classInfo(objectInfo, node.class_type) === undefined,
  );
  const outputIds = Object.keys(graph).filter(
    (id) => classInfo(objectInfo, nodeOf(graph, id)?.class_type ?? "")?.output_node === true,
  );
  if (unknown.length > 0) {
    return unknown.slice(0, MAX_ISSUES).map(([nodeId, node]) => ({
      type: "invalid_prompt",
      nodeId,
      classType: node.class_type,
      input: undefined,
      message: `Node ${nodeId}: the instance has no node class "${node.class_type}". Install the custom node that brings it.`,
      validValues: mostSimilar(node.class_type, Object.keys(objectInfo), 3),
      isCertain: true,
      dependentOutputs: outputIds,
    }));
  }
  if (outputIds.length === 0) return [noOutputs()];
  const needed = new Set(Object.keys(pruneTo(graph, outputIds)));
  const issues: ValidationIssue[] = [];
  for (const [nodeId, node] of Object.entries(graph)) {
    if (!needed.has(nodeId) || issues.length >= MAX_ISSUES) continue;
    const info = classInfo(objectInfo, node.class_type);
    if (info === undefined) continue;
    const found = checkNode({ graph, objectInfo, nodeId, node, info });
    if (found.length === 0) continue;
    const dependents = dependentsOf(graph, nodeId);
    const dependentOutputs = outputIds.filter((id) => id === nodeId || dependents.has(id));
    for (const issue of found) issues.push({ ...issue, dependentOutputs });
  }
  return issues.slice(0, MAX_ISSUES);
}

/** Whether ComfyUI is sure to refuse the whole graph: every output has a certain issue. */
export function isRefusedForSure(
  issues: readonly ValidationIssue[],
  outputIds: readonly string[],
): boolean {
  const dropped = new Set<string>();
  for (const issue of issues) {
    if (!issue.isCertain) continue;
    if (issue.nodeId === undefined || issue.type === "invalid_prompt") return true;
    for (const id of issue.dependentOutputs) dropped.add(id);
  }
  return outputIds.every((id) => dropped.has(id));
}

function noOutputs(): ValidationIssue {
  return {
    type: "prompt_no_outputs",
    nodeId: undefined,
    classType: undefined,
    input: undefined,
    message: "The graph has no output node (such as SaveImage), so nothing would run.",
    isCertain: true,
    dependentOutputs: [],
  };
}

function checkNode(check: NodeCheck): readonly Finding[] {
  const { required, optional } = check.info.input;
  const findings: Finding[] = [];
  const specs: readonly [string, InputSpec, boolean][] = [
    ...Object.entries(required ?? {}).map(([n, s]): [string, InputSpec, boolean] => [n, s, true]),
    ...Object.entries(optional ?? {}).map(([n, s]): [string, InputSpec, boolean] => [n, s, false]),
  ];
  for (const [input, spec, isRequired] of specs) {
    const finding = checkInput(check, input, spec, isRequired);
    if (finding !== undefined) findings.push(finding);
  }
  return findings;
}
