import { asText, asTexts, isRecord, member, parseJson } from "./json-shape.ts";

/** One complaint about a node, in ComfyUI's words (execution.py). */
export interface NodeComplaint {
  /** `value_not_in_list`, `required_input_missing`, …: see `VALIDATION_TYPES`. */
  readonly type: string;
  readonly message: string;
  readonly details: string;
  readonly inputName: string | undefined;
  readonly receivedValue: unknown;
  /** The valid values of a `value_not_in_list`; ComfyUI leaves out lists of more than 20. */
  readonly validValues: readonly unknown[] | undefined;
  /** As it came; paths in it are the host's (F6). */
  readonly extraInfo: Readonly<Record<string, unknown>>;
}

/** The complaints about one node. */
export interface NodeErrors {
  readonly nodeId: string;
  readonly classType: string;
  /** The output nodes that were dropped because of it. */
  readonly dependentOutputs: readonly string[];
  readonly errors: readonly NodeComplaint[];
}

/** Every validation type of ComfyUI 0.3.64 and what later ones add. */
export const VALIDATION_TYPES = [
  "required_input_missing",
  "bad_linked_input",
  "return_type_mismatch",
  "exception_during_inner_validation",
  "invalid_input_type",
  "value_smaller_than_min",
  "value_bigger_than_max",
  "value_not_in_list",
  "custom_validation_failed",
  "exception_during_validation",
  "invalid_prompt",
  "prompt_no_outputs",
  "prompt_outputs_failed_validation",
  "no_prompt",
  "missing_node_type",
  "dependency_cycle",
  "invalid_prompt_id",
] as const;

/** An answer to `POST /prompt` that is no 200. */
export type PromptRejection =
  /** 400 with ComfyUI's explanation: the graph is wrong for this instance. */
  | {
      readonly kind: "invalid_graph";
      readonly type: string;
      readonly message: string;
      readonly details: string;
      readonly extraInfo: Readonly<Record<string, unknown>>;
      /** The class that the instance does not have, when that is the complaint. */
      readonly missingClass: string | undefined;
      readonly nodeErrors: readonly NodeErrors[];
    }
  /** 400: the body had no `prompt`. */
  | { readonly kind: "no_prompt"; readonly message: string }
  /** 413: larger than the instance's `--max-upload-size`. */
  | { readonly kind: "too_large"; readonly status: number; readonly text: string }
  /** 401 or 403: a proxy before it, or Host and Origin that differ. */
  | { readonly kind: "forbidden"; readonly status: number; readonly text: string }
  /** 5xx: says nothing; the prompt may be queued all the same (F4, F27). */
  | { readonly kind: "server_error"; readonly status: number; readonly text: string }
  | { readonly kind: "unexpected"; readonly status: number; readonly text: string };

/** How much of a body without JSON is kept. */
const MAX_TEXT = 2_000;

/** Reads an answer to `POST /prompt` whose status is not 200. Never throws. */
export function parsePromptRejection(status: number, bodyText: string): PromptRejection {
  const text = bodyText.slice(0, MAX_TEXT);
  if (status >= 500) return { kind: "server_error", status, text };
  if (status === 413) return { kind: "too_large", status, text };
  if (status === 401 || status === 403) return { kind: "forbidden", status, text };
  const body = parseJson(bodyText);
  const error = member(body, "error");
  if (typeof error === "string") {
    // Forks and proxies answer with a bare text.
    return { kind: "unexpected", status, text: error.slice(0, MAX_TEXT) };
  }
  if (!isRecord(error)) return { kind: "unexpected", status, text };
  const type = asText(member(error, "type")) ?? "";
  const message = asText(member(error, "message")) ?? "";
  if (type === "no_prompt") return { kind: "no_prompt", message };
  const extraInfo = toRecord(member(error, "extra_info"));
  return {
    kind: "invalid_graph",
    type,
    message,
    details: asText(member(error, "details")) ?? "",
    extraInfo,
    missingClass: missingClassOf(type, message, extraInfo),
    nodeErrors: parseNodeErrors(member(body, "node_errors")),
  };
}

/** Reads `node_errors`, of a 400 and of a 200 alike (F2). A list (older versions) means none. */
export function parseNodeErrors(value: unknown): readonly NodeErrors[] {
  if (!isRecord(value)) return [];
  return Object.entries(value).map(([nodeId, node]) => {
    const errors = member(node, "errors");
    return {
      nodeId,
      classType: asText(member(node, "class_type")) ?? "",
      dependentOutputs: asTexts(member(node, "dependent_outputs")),
      errors: Array.isArray(errors) ? errors.map(toComplaint) : [],
    };
  });
}

function toComplaint(value: unknown): NodeComplaint {
  const extraInfo = toRecord(member(value, "extra_info"));
  const type = asText(member(value, "type")) ?? "";
  const config = member(extraInfo, "input_config");
  const options: unknown = Array.isArray(config)
    ? Array.isArray(config[0])
      ? config[0]
      : member(config[1], "options")
    : undefined;
  return {
    type,
    message: asText(member(value, "message")) ?? "",
    details: asText(member(value, "details")) ?? "",
    inputName: asText(member(extraInfo, "input_name")),
    receivedValue: member(extraInfo, "received_value"),
    validValues: type === "value_not_in_list" && Array.isArray(options) ? options : undefined,
    extraInfo,
  };
}

/** 0.3.64 names the class only in its message; later versions in `extra_info.class_type`. */
function missingClassOf(
  type: string,
  message: string,
  extraInfo: Readonly<Record<string, unknown>>,
): string | undefined {
  if (type === "missing_node_type") return asText(member(extraInfo, "class_type"));
  if (type !== "invalid_prompt") return undefined;
  const before = "Cannot execute because node ";
  const after = " does not exist.";
  return message.startsWith(before) && message.endsWith(after)
    ? message.slice(before.length, -after.length)
    : undefined;
}

function toRecord(value: unknown): Readonly<Record<string, unknown>> {
  return isRecord(value) ? value : {};
}
