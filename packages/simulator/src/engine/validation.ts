import { NODE_CLASSES, shownSpec } from "../nodes/catalogue.ts";
import type { InputSpec, NodeClass, NodeSurroundings } from "../nodes/node-class.ts";
import { checkValue, failure, typesMatch, type ValidationError } from "./input-check.ts";
import {
  pythonIn,
  PythonError,
  pythonItem,
  pythonRepr,
  pythonStr,
  typeName,
} from "./python-text.ts";

/** What is wrong with one node, and which outputs fell with it. */
interface NodeErrors {
  readonly errors: readonly ValidationError[];
  readonly dependent_outputs: string[];
  readonly class_type: string;
}

/** What became of a posted graph. `accepted` may still carry errors: those outputs are dropped (F2). */
type Validation =
  | {
      readonly kind: "accepted";
      readonly outputs: readonly string[];
      readonly nodeErrors: Readonly<Record<string, NodeErrors>>;
    }
  | {
      readonly kind: "refused";
      readonly error: ValidationError;
      readonly nodeErrors: Readonly<Record<string, NodeErrors>>;
    };

/** A graph as it was posted: nothing about it is known yet. Values are converted in place. */
export type PostedGraph = Record<string, PostedNode>;

interface PostedNode {
  readonly class_type: string;
  readonly inputs: Record<string, unknown>;
  readonly [key: string]: unknown;
}

interface NodeVerdict {
  readonly isValid: boolean;
  readonly errors: readonly ValidationError[];
}

/**
 * Checks a graph as ComfyUI 0.3.64 does, its odd corners included. `targets` is what was posted as
 * `partial_execution_targets`. Throws {@link PythonError} where ComfyUI answers a bare 500 (F4).
 */
export function validateGraph(
  posted: unknown,
  surroundings: NodeSurroundings,
  targets: unknown,
): Validation {
  const graph = readGraph(posted);
  const outputs: string[] = [];
  for (const [id, node] of Object.entries(graph)) {
    const problem = classProblem(id, node);
    if (problem !== null) return { kind: "refused", error: problem, nodeErrors: {} };
    const nodeClass = NODE_CLASSES.get(node.class_type);
    if (nodeClass?.isOutput !== true) continue;
    if (targets === null || targets === undefined || pythonIn(id, targets)) outputs.push(id);
  }
  if (outputs.length === 0) {
    const error = failure("prompt_no_outputs", "Prompt has no outputs", "", {});
    return { kind: "refused", error, nodeErrors: {} };
  }
  return new GraphCheck(graph, surroundings).check(outputs);
}

function readGraph(posted: unknown): PostedGraph {
  if (Array.isArray(posted) || typeof posted === "string") {
    if (posted.length === 0) return {};
    throw new PythonError("TypeError", "list indices must be integers or slices");
  }
  if (typeof posted !== "object" || posted === null) {
    throw new PythonError("TypeError", "object is not iterable");
  }
  return posted as PostedGraph;
}

function classProblem(id: string, node: unknown): ValidationError | null {
  if (!pythonIn("class_type", node)) {
    return failure(
      "invalid_prompt",
      "Cannot execute because a node is missing the class_type property.",
      `Node ID '#${id}'`,
      {},
    );
  }
  const classType = pythonItem(node, "class_type");
  if (typeof classType === "object" && classType !== null) {
    throw new PythonError("TypeError", `unhashable type: '${typeName(classType)}'`);
  }
  if (typeof classType === "string" && NODE_CLASSES.has(classType)) return null;
  return failure(
    "invalid_prompt",
    `Cannot execute because node ${pythonStr(classType)} does not exist.`,
    `Node ID '#${id}'`,
    {},
  );
}

const FRAME_OUTER =
  '  File "execution.py", line 1010, in validate_prompt\n    m = await validate_inputs(prompt_id, prompt, o, validated)\n        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n';
const FRAME_INNER =
  '  File "execution.py", line 808, in validate_inputs\n    r = await validate_inputs(prompt_id, prompt, o_id, validated)\n        ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n';
const FRAME_KEY =
  "  File \"execution.py\", line 788, in validate_inputs\n    o_class_type = prompt[o_id]['class_type']\n                   ~~~~~~^^^^^^\n";
const FRAME_SLOT =
  '  File "execution.py", line 790, in validate_inputs\n    received_type = r[val[1]]\n                    ~^^^^^^^^\n';

class GraphCheck {
  readonly #graph: PostedGraph;
  readonly #surroundings: NodeSurroundings;
  readonly #verdicts = new Map<string, NodeVerdict>();
  readonly #walking = new Set<string>();

  constructor(graph: PostedGraph, surroundings: NodeSurroundings) {
    this.#graph = graph;
    this.#surroundings = surroundings;
  }

  check(outputs: readonly string[]): Validation {
    const good: string[] = [];
    const reasons: ValidationError[] = [];
    const nodeErrors: Record<string, NodeErrors> = {};
    for (const output of outputs) {
      const verdict = this.#checkOutput(output);
      if (verdict.isValid) {
        good.push(output);
        continue;
      }
      reasons.push(...verdict.errors);
      for (const [id, { isValid, errors }] of this.#verdicts) {
        if (isValid || errors.length === 0) continue;
        nodeErrors[id] ??= {
          errors,
          dependent_outputs: [],
          class_type: this.#graph[id]?.class_type ?? "",
        };
        nodeErrors[id].dependent_outputs.push(output);
      }
    }
    if (good.length > 0) return { kind: "accepted", outputs: good, nodeErrors };
    const details = reasons.map((error) => `${error.message}: ${error.details}`).join("\n");
    const error = failure(
      "prompt_outputs_failed_validation",
      "Prompt outputs failed validation",
      details,
      {},
    );
    return { kind: "refused", error, nodeErrors };
  }

  #checkOutput(output: string): NodeVerdict {
    try {
      return this.#checkNode(output);
    } catch (error) {
      if (!(error instanceof PythonError)) throw error;
      const verdict: NodeVerdict = {
        isValid: false,
        errors: [
          failure("exception_during_validation", "Exception when validating node", error.message, {
            exception_type: error.exceptionType,
            traceback: [FRAME_OUTER, ...error.frames],
          }),
        ],
      };
      this.#verdicts.set(output, verdict);
      return verdict;
    }
  }

  #checkNode(id: string): NodeVerdict {
    const known = this.#verdicts.get(id);
    if (known !== undefined) return known;
    // A cycle runs into Python's recursion limit, and leaves no error behind (F3).
    if (this.#walking.has(id)) return { isValid: false, errors: [] };
    this.#walking.add(id);
    try {
      const node = this.#graph[id];
      const nodeClass = NODE_CLASSES.get(node?.class_type ?? "");
      if (node === undefined || nodeClass === undefined) {
        throw new PythonError("KeyError", pythonRepr(id));
      }
      const inputs: unknown = pythonItem(node, "inputs");
      const errors: ValidationError[] = [];
      let isValid = true;
      for (const [group, specs] of [
        ["required", nodeClass.required ?? {}],
        ["optional", nodeClass.optional ?? {}],
      ] as const) {
        for (const [name, spec] of Object.entries(specs)) {
          const found = this.#checkInput(nodeClass, inputs, name, spec, group === "required");
          if (found === "invalid_source") isValid = false;
          else errors.push(...found);
        }
      }
      errors.push(...this.#checkCustom(nodeClass, inputs));
      const verdict = { isValid: isValid && errors.length === 0, errors };
      this.#verdicts.set(id, verdict);
      return verdict;
    } finally {
      this.#walking.delete(id);
    }
  }

  #checkInput(
    nodeClass: NodeClass,
    inputs: unknown,
    name: string,
    spec: InputSpec,
    isRequired: boolean,
  ): readonly ValidationError[] | "invalid_source" {
    if (!pythonIn(name, inputs)) {
      return isRequired
        ? [
            failure("required_input_missing", "Required input is missing", name, {
              input_name: name,
            }),
          ]
        : [];
    }
    const value = pythonItem(inputs, name);
    const [shownType, shownOptions = {}] = shownSpec(nodeClass, spec, this.#surroundings);
    const config = [shownType, shownOptions] as const;
    if (Array.isArray(value)) return this.#checkLink(name, value, shownType, config);
    const isChecked = nodeClass.validate?.input !== name;
    const values = inputs as Record<string, unknown>;
    // Choices shown as `COMBO` are not checked up to 0.3.64: only lists are.
    const problem = checkValue(values, name, shownType, config, isChecked);
    return problem === null ? [] : [problem];
  }

  #checkLink(
    name: string,
    value: readonly unknown[],
    type: string | readonly string[],
    config: unknown,
  ): readonly ValidationError[] | "invalid_source" {
    if (value.length !== 2) {
      return [
        failure(
          "bad_linked_input",
          "Bad linked input, must be a length-2 list of [node_id, slot_index]",
          name,
          { input_name: name, input_config: config, received_value: value },
        ),
      ];
    }
    const source = String(value[0]);
    const received = this.#receivedType(value[0], value[1]);
    if (!typesMatch(received, type)) {
      return [
        failure(
          "return_type_mismatch",
          "Return type mismatch between linked nodes",
          `${name}, received_type(${received}) mismatch input_type(${pythonStr(type)})`,
          { input_name: name, input_config: config, received_type: received, linked_node: value },
        ),
      ];
    }
    try {
      return this.#checkNode(source).isValid ? [] : "invalid_source";
    } catch (error) {
      if (!(error instanceof PythonError)) throw error;
      this.#verdicts.set(source, {
        isValid: false,
        errors: [
          failure(
            "exception_during_inner_validation",
            "Exception when validating inner node",
            error.message,
            {
              input_name: name,
              input_config: config,
              exception_message: error.message,
              exception_type: error.exceptionType,
              traceback: [FRAME_INNER, ...error.frames],
              linked_node: value,
            },
          ),
        ],
      });
      return "invalid_source";
    }
  }

  #receivedType(source: unknown, slot: unknown): string {
    // Only text ids are keys of a JSON object: a number never finds its node.
    const node = typeof source === "string" ? this.#graph[source] : undefined;
    if (node === undefined) throw new PythonError("KeyError", pythonRepr(source), [FRAME_KEY]);
    const outputs = NODE_CLASSES.get(node.class_type)?.outputs ?? [];
    const index = typeof slot === "boolean" ? Number(slot) : slot;
    if (typeof index !== "number" || !Number.isInteger(index)) {
      const message = `tuple indices must be integers or slices, not ${typeName(slot)}`;
      throw new PythonError("TypeError", message, [FRAME_SLOT]);
    }
    const received = outputs[index < 0 ? outputs.length + index : index];
    if (received === undefined) {
      throw new PythonError("IndexError", "tuple index out of range", [FRAME_SLOT]);
    }
    return received;
  }

  #checkCustom(nodeClass: NodeClass, inputs: unknown): readonly ValidationError[] {
    const { validate } = nodeClass;
    if (validate === undefined) return [];
    const isGiven = pythonIn(validate.input, inputs);
    const given = isGiven ? pythonItem(inputs, validate.input) : undefined;
    if (Array.isArray(given)) return [];
    if (!isGiven) {
      throw new PythonError(
        "TypeError",
        `${nodeClass.name}.VALIDATE_INPUTS() missing 1 required positional argument: '${validate.input}'`,
      );
    }
    const answer = validate.check(given, this.#surroundings);
    if (answer === true) return [];
    return [
      failure(
        "custom_validation_failed",
        "Custom validation failed for node",
        `${validate.input} - ${answer}`,
        { input_name: validate.input },
      ),
    ];
  }
}
