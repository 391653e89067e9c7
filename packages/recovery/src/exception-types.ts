import { fromStructure, type Candidate } from "./candidate.ts";
import type { ErrorClass } from "./error-class.ts";
import type { EvidenceChannel, FailureEvidence } from "./evidence.ts";

interface TypeRule {
  readonly type: RegExp;
  readonly class: ErrorClass;
  readonly subclass: string | null;
  readonly confidence: number;
  readonly channels?: readonly EvidenceChannel[];
}

/** Channels on which a plain Python error most likely comes out of a node's own code. */
const IN_NODES: readonly EvidenceChannel[] = ["execution", "history", "validation"];

/**
 * What a type of exception says by itself. `exception_type` is the bare name for builtins, else
 * `module.qualname` (ComfyUI a125cd84 execution.py:960). The first row that fits counts.
 */
const TYPE_RULES: readonly TypeRule[] = [
  row(/^torch\S*\.OutOfMemoryError$/, "cuda_out_of_memory", null, 0.97),
  // The bare name is also what supervisors and other languages say of the system's memory.
  row(/(?:^|\.)OutOfMemoryError$/, "host_out_of_memory", "killed", 0.94, ["process_exit"]),
  row(/(?:^|\.)OutOfMemoryError$/, "cuda_out_of_memory", null, 0.97),
  row(/InterruptProcessing|KeyboardInterrupt$/, "interrupted", null, 0.99),
  row(/DependencyCycleError$/, "workflow_error", "dependency_cycle", 0.99),
  row(/ExecutionBlocked$/, "workflow_error", "blocked", 0.6),
  row(/MemoryError$/, "host_out_of_memory", "allocator", 0.96),
  row(/Warning$/, "not_an_error", "warning", 0.97),
  row(/GatedRepoError$/, "auth_error", "gated", 0.97),
  row(
    /(?:Entry|Repository|Revision)NotFoundError$|NoSuchFile$/,
    "model_missing",
    "file_absent",
    0.85,
  ),
  row(/(?:ModuleNotFound|Import|VersionConflict)(?:Error)?$/, "dependency_error", null, 0.9),
  row(
    /(?:CompilationError|InductorError|BackendCompilerFailed)$/,
    "dependency_error",
    "missing_tool",
    0.85,
  ),
  row(/(?:UnpicklingError|BadZipFile|InvalidProtobuf)$/, "corrupt_model", "damaged_file", 0.9),
  row(/SafetensorError$/, "corrupt_model", "damaged_file", 0.75),
  row(/UnidentifiedImageError$|DecompressionBomb/, "workflow_error", "bad_input_file", 0.9),
  row(/PermissionError$/, "permission_error", null, 0.9),
  row(/Time(?:d)?out(?:Error|Exception|Expired)?$/i, "timeout", null, 0.92),
  row(/AbortError$|Cancel+edError$/, "interrupted", "cancelled", 0.9),
  row(
    /(?:Connect\w*|ServerDisconnected|RemoteDisconnected|gai|SSL|Proxy|Protocol|BrokenPipe|ChunkedEncoding|URL|Network|ClientOS|ClientPayload|IncompleteRead|MaxRetry|NameResolution)(?:Error)?$|WebSocket\w*$/,
    "network_error",
    null,
    0.9,
  ),
  row(/AcceleratorError$|CudaError$/, "gpu_fault", null, 0.72),
  row(/EOFError$/, "corrupt_model", "damaged_file", 0.6),
  row(/^KeyError$/, "workflow_error", "wrong_value", 0.45, IN_NODES),
  row(
    /(?:JSONDecode|Type|Attribute|Index|ZeroDivision|NotImplemented|Value|Name|UnboundLocal)Error$/,
    "workflow_error",
    "wrong_value",
    0.5,
    IN_NODES,
  ),
  row(/(?:Type|Attribute|Index|Value)Error$/, "workflow_error", "wrong_value", 0.4),
];

function row(
  type: RegExp,
  errorClass: ErrorClass,
  subclass: string | null,
  confidence: number,
  channels?: readonly EvidenceChannel[],
): TypeRule {
  const rule = { type, class: errorClass, subclass, confidence };
  return channels === undefined ? rule : { ...rule, channels };
}

/** How much less a type counts that was only read from the head of the message. */
const READ_FROM_TEXT = 0.03;
/** How far into a message its leading type name is looked for. */
const HEAD = 200;
const LEADING_TYPE =
  /^[^A-Za-z_]{0,12}((?:[A-Za-z_]\w{0,60}\.){0,6}[A-Za-z_]\w{0,60}(?:Error|Exception|Warning|Interrupt|Timeout|Disconnected))\b(?::|\s|\()/;

/** What the exception's type speaks for, given as a field or as the first word of the message. */
export function candidateFromType(evidence: FailureEvidence): Candidate | null {
  const given = evidence.exceptionType ?? "";
  if (given !== "") return judge(given, evidence, 0);
  const leading = LEADING_TYPE.exec(evidence.message.slice(0, HEAD))?.[1];
  return leading === undefined ? null : judge(leading, evidence, READ_FROM_TEXT);
}

function judge(type: string, evidence: FailureEvidence, discount: number): Candidate | null {
  if (/(?:^|\.)FileNotFoundError$/.test(type)) return judgeMissingFile(type, evidence, discount);
  const rule = TYPE_RULES.find(
    (candidate) =>
      candidate.type.test(type) &&
      (candidate.channels === undefined || candidate.channels.includes(evidence.channel)),
  );
  if (rule === undefined) return null;
  const confidence = rule.confidence - discount;
  return fromStructure("exception_type", rule.class, rule.subclass, confidence, type);
}

/** Nodes that load what the user gave, not models. */
const INPUT_LOADER = /image|video|audio|mask|latent|text|csv|json|file/i;

function judgeMissingFile(type: string, evidence: FailureEvidence, discount: number): Candidate {
  const node = evidence.nodeType ?? "";
  if (/load/i.test(node)) {
    return INPUT_LOADER.test(node)
      ? fromStructure("exception_type", "workflow_error", "missing_input", 0.7 - discount, type)
      : fromStructure("exception_type", "model_missing", "file_absent", 0.8 - discount, type);
  }
  return fromStructure("exception_type", "workflow_error", "missing_file", 0.45 - discount, type);
}
