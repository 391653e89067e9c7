import { fromStructure, type Candidate } from "./candidate.ts";
import type { FailureEvidence } from "./evidence.ts";

/** Most node errors looked at; a graph that breaks everywhere need not be read to its end. */
export const NODE_ERRORS_MAX = 200;

/** One error of one node, as `POST /prompt` answers it, with what matters here. */
interface NodeError {
  readonly type: string;
  readonly message: string;
  readonly details: string;
  readonly inputName: string | null;
  readonly receivedValue: unknown;
  /** The values that would be valid (`input_config[0]`), or null when ComfyUI left them out. */
  readonly validValues: readonly unknown[] | null;
}

/**
 * What ComfyUI's validation answer says (`error.type` and `node_errors`, execution.py a125cd84 and
 * 2026 forks), or null when the evidence holds no validation type.
 *
 * Several errors make one verdict: what is wrong on every machine outweighs what another machine
 * may have, as the job cannot succeed anywhere before it is put right.
 */
export function candidateFromValidation(evidence: FailureEvidence): Candidate | null {
  if (evidence.channel !== "validation") return null;
  const errors = readNodeErrors(evidence.nodeErrors);
  const verdicts = errors.map((error) => judgeNodeError(error));
  const own = judgeType(evidence.validationType ?? "", evidence.message);
  if (own !== null && own.class !== "workflow_error") return own;
  const worst = verdicts.find((verdict) => verdict.class === "workflow_error") ?? verdicts[0];
  return worst ?? own;
}

/** Node classes that exist in the browser only: nothing can be installed for them. */
const FRONT_END_ONLY = /\b(?:Note|MarkdownNote|PrimitiveNode|Reroute|SetNode|GetNode)\b/;
const UUID = /\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/i;

function judgeType(type: string, message: string): Candidate | null {
  switch (type) {
    case "":
      return null;
    case "missing_node_type":
    case "invalid_prompt":
      return judgeUnknownClass(type, message);
    case "value_not_in_list":
    case "custom_validation_failed":
      return judgeNodeError({ ...NO_DETAILS, type, message });
    default:
      // The sum of the outputs' errors says nothing by itself: those of the nodes decide, and where
      // there are none the graph has a cycle (F3).
      return type.endsWith("_failed_validation")
        ? verdict("workflow_error", null, 0.9, type)
        : verdict("workflow_error", type, 0.97, type);
  }
}

function judgeUnknownClass(type: string, message: string): Candidate {
  if (/class_type/i.test(message) && !/does not exist|not found/i.test(message)) {
    return verdict("workflow_error", "no_class_type", 0.97, type);
  }
  const isNode =
    type === "missing_node_type" || /\bnode\b[^\n]{1,200}does not exist/i.test(message);
  if (!isNode) return verdict("workflow_error", "invalid_prompt", 0.9, type);
  const isFrontEndOnly = FRONT_END_ONLY.test(message) || UUID.test(message);
  return verdict("node_missing", isFrontEndOnly ? "front_end_only" : null, 0.98, type);
}

const NO_DETAILS: NodeError = {
  type: "",
  message: "",
  details: "",
  inputName: null,
  receivedValue: null,
  validValues: null,
};

/** Inputs that name a model file, by the names that ComfyUI and its packs give them. */
const MODEL_INPUT =
  /^(?:ckpt|lora|vae|unet|clip|control_?net|style_model|gligen|hypernetwork|upscale_model|model|text_encoder|diffusion|gguf|checkpoint|embedding|pulid|ipadapter|sam(?!pl)|motion_model|audio_encoder)\w{0,16}$/i;
const NO_MODEL_INPUT = /type|device|dtype|mode$|method|strength|weight/i;
const MODEL_FILE = /\.(?:safetensors|ckpt|pth?|sft|gguf|onnx|bin|pkl|engine)$/i;

function judgeNodeError(error: NodeError): Candidate {
  const { type } = error;
  if (type === "value_not_in_list") return judgeListValue(error);
  if (
    type === "custom_validation_failed" &&
    /invalid \w+ file/i.test(error.message + error.details)
  ) {
    return verdict("workflow_error", "missing_input", 0.98, type);
  }
  return verdict("workflow_error", type === "" ? null : type, 0.97, type);
}

function judgeListValue(error: NodeError): Candidate {
  const text = `${error.message}: ${error.details}`;
  const named = /(?:^|[:\s])(\w{1,60}): '([^'\n]{0,300})' not in/.exec(text);
  const input = error.inputName ?? named?.[1] ?? "";
  const received = error.receivedValue ?? named?.[2] ?? "";
  const value = typeof received === "string" ? received : "";
  const isEmptyChoice = /^(?:none|null|undefined|)$/i.test(value);
  const isModel =
    MODEL_FILE.test(value) ||
    (MODEL_INPUT.test(input) && !NO_MODEL_INPUT.test(input) && !isEmptyChoice);
  if (!isModel) return verdict("workflow_error", "value_not_in_list", 0.96, input);
  return verdict(
    "model_missing",
    listCause(error, value, text),
    0.98,
    value === "" ? input : value,
  );
}

/** Why a model is not in the list: the folder is gone, the name is spelt for another system, or it is absent. */
function listCause(error: NodeError, value: string, text: string): string {
  // Without the values themselves ComfyUI's words end with them; a caller's own value stands before.
  const isEmpty = error.validValues === null ? /not in \[\][\s:]*$/.test(text) : false;
  if (isEmpty || error.validValues?.length === 0) return "list_empty";
  const wanted = value.replaceAll("\\", "/");
  const isSpeltOtherwise = error.validValues?.some(
    (valid) =>
      typeof valid === "string" && valid !== value && valid.replaceAll("\\", "/") === wanted,
  );
  return isSpeltOtherwise === true ? "path_separator" : "not_in_list";
}

function verdict(
  errorClass: Candidate["class"],
  subclass: string | null,
  confidence: number,
  matched: string,
): Candidate {
  return fromStructure("validation_type", errorClass, subclass, confidence, matched);
}

/** Reads `node_errors` whatever shape it has; what does not look like an error is left out. */
function readNodeErrors(nodeErrors: unknown): readonly NodeError[] {
  const errors: NodeError[] = [];
  for (const node of Object.values(asRecord(nodeErrors))) {
    const list = asRecord(node)["errors"];
    if (!Array.isArray(list)) continue;
    for (const item of list as unknown[]) {
      if (errors.length >= NODE_ERRORS_MAX) return errors;
      const error = asRecord(item);
      const info = asRecord(error["extra_info"]);
      const config: unknown = info["input_config"];
      // The agent's own look names them itself; ComfyUI gives the input's whole declaration.
      const values: unknown = info["valid_values"] ?? (Array.isArray(config) ? config[0] : null);
      if (typeof error["type"] !== "string") continue;
      errors.push({
        type: error["type"],
        message: asText(error["message"]) ?? "",
        details: asText(error["details"]) ?? "",
        inputName: asText(info["input_name"]),
        receivedValue: info["received_value"] ?? null,
        validValues: Array.isArray(values) ? (values as unknown[]) : null,
      });
    }
  }
  return errors;
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function asText(value: unknown): string | null {
  return typeof value === "string" ? value.slice(0, 2_000) : null;
}
