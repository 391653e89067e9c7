import { isLink, nodeOf, type Graph, type GraphLink, type GraphNode } from "./graph.ts";
import { isRecord, member } from "./json-shape.ts";
import { isFileInput, modelFolderOf } from "./needs.ts";
import {
  choicesOf,
  classInfo,
  type InputSpec,
  type InputType,
  type NodeInfo,
  type ObjectInfo,
} from "./object-info.ts";
import { toPythonFloat, toPythonInt } from "./python-number.ts";
import { mostSimilar } from "./similar.ts";
import type { ValidationIssue } from "./validation-issue.ts";

/** How many valid values an issue names. */
const MAX_VALID_VALUES = 20;

/** A node with all that is needed to judge its inputs. */
export interface NodeCheck {
  readonly graph: Graph;
  readonly objectInfo: ObjectInfo;
  readonly nodeId: string;
  readonly node: GraphNode;
  readonly info: NodeInfo;
}

/** An issue before it is known which outputs it concerns. */
export type Finding = Omit<ValidationIssue, "dependentOutputs">;

/** Judges one declared input as `validate_inputs` in execution.py (0.3.64) does. */
export function checkInput(
  check: NodeCheck,
  input: string,
  spec: InputSpec,
  isRequired: boolean,
): Finding | undefined {
  const { node, nodeId } = check;
  const issue = (
    type: Finding["type"],
    isCertain: boolean,
    what: string,
    more: Partial<Finding> = {},
  ): Finding => ({
    type,
    nodeId,
    classType: node.class_type,
    input,
    message: `Node ${nodeId} (${node.class_type}), input "${input}": ${what}`,
    isCertain,
    ...more,
  });
  if (!Object.hasOwn(node.inputs, input)) {
    if (!isRequired) return undefined;
    return issue("required_input_missing", !isDynamic(spec), "it is required, but not given.");
  }
  const value = node.inputs[input];
  if (Array.isArray(value)) {
    if (value.length !== 2) {
      const what =
        'a list is a link, [node id, output index]; give a list of values as {"__value__": […]}.';
      return issue("bad_linked_input", !isDynamic(spec), what, { received: value });
    }
    return checkLink(check, value, spec, issue);
  }
  return checkValue(check, input, value, spec, issue);
}

type MakeIssue = (
  type: Finding["type"],
  isCertain: boolean,
  what: string,
  more?: Partial<Finding>,
) => Finding;

function checkLink(
  { graph, objectInfo, info }: NodeCheck,
  value: readonly unknown[],
  spec: InputSpec,
  issue: MakeIssue,
): Finding | undefined {
  if (isDynamic(spec)) return undefined;
  const source = isLink(value) ? nodeOf(graph, value[0]) : undefined;
  if (!isLink(value) || source === undefined) {
    const what = `it links to ${JSON.stringify(value)}, and the graph has no such node.`;
    return issue("exception_during_validation", true, what, { received: value });
  }
  const [sourceId, slot]: GraphLink = value;
  const sourceInfo = classInfo(objectInfo, source.class_type);
  const received = sourceInfo?.output[slot];
  if (sourceInfo === undefined || received === undefined) {
    const count = sourceInfo?.output.length ?? 0;
    const what = `it links to output ${slot} of node ${sourceId} (${source.class_type}), which has ${count}.`;
    const isCertain = sourceInfo !== undefined && isCore(sourceInfo);
    return issue("exception_during_validation", isCertain, what, { received: value });
  }
  if (typesFit(received, spec[0])) return undefined;
  const isCertain =
    isCore(info) &&
    sourceInfo !== undefined &&
    isCore(sourceInfo) &&
    typeof received === "string" &&
    typeof spec[0] === "string";
  const what = `it takes ${typeName(spec[0])}, but output ${slot} of node ${sourceId} (${source.class_type}) gives ${typeName(received)}.`;
  return issue("return_type_mismatch", isCertain, what, { received: value });
}

function checkValue(
  { node, info, objectInfo }: NodeCheck,
  input: string,
  given: unknown,
  spec: InputSpec,
  issue: MakeIssue,
): Finding | undefined {
  const value = isRecord(given) && Object.hasOwn(given, "__value__") ? given["__value__"] : given;
  const [type, options] = spec;
  const isNumber = type === "INT" || type === "FLOAT";
  const converted = isNumber ? (type === "INT" ? toPythonInt : toPythonFloat)(value) : undefined;
  if (converted?.kind === "fails") {
    const what = `${shown(value)} is not ${type === "INT" ? "a whole number" : "a number"}.`;
    return issue("invalid_input_type", true, what, { received: value });
  }
  // A node with a VALIDATE_INPUTS that takes this input is asked instead (execution.py).
  const isCertain = isCore(info) && !OWN_RULES.has(node.class_type);
  if (converted?.kind === "number") {
    const min = member(options, "min");
    const max = member(options, "max");
    if (typeof min === "number" && converted.value < min) {
      const what = `${converted.value} is less than the least allowed, ${min}.`;
      return issue("value_smaller_than_min", isCertain, what, { received: value });
    }
    if (typeof max === "number" && isAbove(converted.value, max)) {
      const what = `${converted.value} is more than the most allowed, ${max}.`;
      return issue("value_bigger_than_max", isCertain, what, { received: value });
    }
    return undefined;
  }
  const choices = choicesOf(spec);
  if (choices === undefined || isListOpen(node.class_type, input, spec, objectInfo)) {
    return undefined;
  }
  if (choices.some((choice) => equalsInPython(choice, value))) return undefined;
  const folder = modelFolderOf(node.class_type, input);
  const validValues = mostSimilar(String(value), choices, MAX_VALID_VALUES);
  const what =
    choices.length === 0
      ? `the instance offers no value at all, so not ${shown(value)} either.`
      : `${shown(value)} is not one of the ${choices.length} valid values (${validValues.slice(0, 3).map(shown).join(", ")}${choices.length > 3 ? ", …" : ""}).`;
  // "COMBO" was not checked up to 0.3.64, only lists were; later versions check both.
  return issue("value_not_in_list", isCertain && typeof type !== "string", what, {
    received: value,
    validValues,
    ...(folder !== undefined && { modelFolder: folder }),
  });
}

/** Core classes with a VALIDATE_INPUTS of their own (nodes.py and comfy_extras, 0.3.64). */
const OWN_RULES: ReadonlySet<string> = new Set([
  "LoadAudio",
  "LoadImage",
  "LoadImageMask",
  "LoadImageOutput",
  "LoadImageSetNode",
  "LoadLatent",
  "LoadVideo",
]);

/** Types later than 0.3.64 under which the real inputs are made while validating. */
function isDynamic(spec: InputSpec): boolean {
  return typeof spec[0] === "string" && spec[0].startsWith("COMFY_");
}

/** Only core nodes are sure to have no rules of their own that `/object_info` does not show. */
function isCore(info: NodeInfo): boolean {
  const module = info.python_module;
  return module === "nodes" || module?.startsWith("comfy_extras.") === true;
}

/** A choice whose list is not the truth: files that may be uploaded, or options fetched elsewhere. */
function isListOpen(
  classType: string,
  input: string,
  spec: InputSpec,
  objectInfo: ObjectInfo,
): boolean {
  const options = spec[1];
  return (
    isFileInput(classType, input, objectInfo) ||
    member(options, "image_folder") !== undefined ||
    member(options, "remote") !== undefined ||
    member(options, "multiselect") === true
  );
}

/** `validate_node_input` in comfy_execution/validation.py, with `*` taken for any type. */
function typesFit(received: InputType, wanted: InputType): boolean {
  if (typeof received !== "string" || typeof wanted !== "string") {
    return (
      JSON.stringify(received) === JSON.stringify(wanted) || received === "*" || wanted === "*"
    );
  }
  const receivedTypes = received.split(",").map((type) => type.trim());
  const wantedTypes = wanted.split(",").map((type) => type.trim());
  if (receivedTypes.includes("*") || wantedTypes.includes("*")) return true;
  return receivedTypes.some((type) => wantedTypes.includes(type));
}

/** JSON numbers above 2^53 have lost their last digits here, but not in ComfyUI. */
function isAbove(value: number, max: number): boolean {
  return value > max && !(max > Number.MAX_SAFE_INTEGER && value <= max * (1 + Number.EPSILON));
}

/** `in` of a Python list: booleans equal 1 and 0, text and numbers never meet. */
function equalsInPython(choice: unknown, value: unknown): boolean {
  return (
    withoutBooleans(choice) === withoutBooleans(value) ||
    (typeof choice === "object" && JSON.stringify(choice) === JSON.stringify(value))
  );
}

function withoutBooleans(value: unknown): unknown {
  return typeof value === "boolean" ? Number(value) : value;
}

function typeName(type: InputType): string {
  return typeof type === "string" ? type : "a choice from a list";
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
