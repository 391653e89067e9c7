/**
 * What an agent knows about a failed attempt: plain JSON, reported as it was seen. A graph's inputs
 * (`current_inputs` of ComfyUI's `execution_error`) are left out on purpose: they hold the user's
 * own words, and no rule may ever look at those.
 */

/** Where a failure showed itself. */
export const EVIDENCE_CHANNELS = [
  /** `POST /prompt` was refused, or dropped an output (`node_errors`). */
  "validation",
  /** An `execution_error` or `execution_interrupted`, from the socket or from the history. */
  "execution",
  /** HTTP or socket trouble between the agent and the instance. */
  "connection",
  /** The instance's process ended. */
  "process_exit",
  /** No sign of progress within the stall limit. */
  "stall",
  /** The instance was to be started anew for the job, and that failed. */
  "restart",
  /** An output could not be read back from the instance. */
  "collection",
  /** An output or input could not be moved to or from the file store. */
  "store",
  /** A line of the instance's log. */
  "log",
  /** A history entry read later, without the events that led to it. */
  "history",
] as const;

/** One of {@link EVIDENCE_CHANNELS}. */
export type EvidenceChannel = (typeof EVIDENCE_CHANNELS)[number];

/** How a process ended: its exit code or the signal that ended it, where known. */
export interface EvidenceExit {
  readonly code?: number | null;
  readonly signal?: string | null;
}

/** What the clock says about a failure. */
export interface EvidenceTiming {
  /** From the start of the attempt to its failure. */
  readonly elapsedMs?: number;
  /** From the last sign of progress to the failure. */
  readonly sinceLastSignMs?: number;
}

/** One failure as an agent reports it. Everything but the channel and the message may be absent. */
export interface FailureEvidence {
  readonly channel: EvidenceChannel;
  /** ComfyUI's `exception_type`: a bare name for builtins, else `module.qualname`. */
  readonly exceptionType?: string | null;
  /** ComfyUI's `exception_message`, a body, or a log line; may be empty. */
  readonly message: string;
  /** `error.type` of a validation answer, or the type of the node error that matters. */
  readonly validationType?: string | null;
  readonly nodeId?: string | null;
  readonly nodeType?: string | null;
  readonly httpStatus?: number | null;
  readonly traceback?: readonly string[];
  readonly exit?: EvidenceExit;
  /** `node_errors` of a validation answer, as it was sent. */
  readonly nodeErrors?: unknown;
  readonly timing?: EvidenceTiming;
  /** VRAM that the instance called free shortly before the failure. */
  readonly vramFreeBytes?: number;
  /** Further facts of the reporter, for people; no rule reads them. */
  readonly extra?: Readonly<Record<string, unknown>>;
  /** Set by {@link limitEvidence}: names of the fields that were cut. */
  readonly truncated?: readonly string[];
}

/** Longest message kept, in UTF-16 units: the size the classifier's speed is promised for. */
export const EVIDENCE_MESSAGE_MAX = 65_536;
/** Most traceback lines kept; the last ones, which name the place of the failure. */
export const EVIDENCE_TRACEBACK_LINES_MAX = 200;
/** Longest traceback line kept. */
export const EVIDENCE_TRACEBACK_LINE_MAX = 2_000;
/** Longest of the short fields: types, ids and signal names. */
export const EVIDENCE_FIELD_MAX = 500;
/** Largest `nodeErrors` and `extra` kept, as JSON text. */
export const EVIDENCE_JSON_MAX = 65_536;

/**
 * Cuts evidence to its limits and says in `truncated` what was cut. A message keeps its first
 * three quarters and its last quarter, as the cause may stand at either end. JSON that is too
 * large, or that cannot be written as JSON, is dropped whole.
 */
export function limitEvidence(evidence: FailureEvidence): FailureEvidence {
  const truncated = new Set(evidence.truncated ?? []);
  const limited: Record<string, unknown> = { ...evidence };
  if (evidence.message.length > EVIDENCE_MESSAGE_MAX) {
    limited["message"] = cutMiddle(evidence.message, EVIDENCE_MESSAGE_MAX);
    truncated.add("message");
  }
  for (const field of SHORT_FIELDS) {
    const value = evidence[field];
    if (typeof value === "string" && value.length > EVIDENCE_FIELD_MAX) {
      limited[field] = value.slice(0, EVIDENCE_FIELD_MAX);
      truncated.add(field);
    }
  }
  if (evidence.traceback !== undefined) {
    const kept = evidence.traceback
      .slice(-EVIDENCE_TRACEBACK_LINES_MAX)
      .map((line) => line.slice(0, EVIDENCE_TRACEBACK_LINE_MAX));
    const isWhole =
      kept.length === evidence.traceback.length &&
      evidence.traceback.every((line) => line.length <= EVIDENCE_TRACEBACK_LINE_MAX);
    limited["traceback"] = kept;
    if (!isWhole) truncated.add("traceback");
  }
  for (const field of JSON_FIELDS) {
    if (evidence[field] !== undefined && !fitsAsJson(evidence[field])) {
      delete limited[field];
      truncated.add(field);
    }
  }
  if (truncated.size > 0) limited["truncated"] = [...truncated].sort();
  return limited as unknown as FailureEvidence;
}

const SHORT_FIELDS = ["exceptionType", "validationType", "nodeId", "nodeType"] as const;
const JSON_FIELDS = ["nodeErrors", "extra"] as const;
const CUT_MARK = "\n[… cut …]\n";

function cutMiddle(text: string, limit: number): string {
  const room = limit - CUT_MARK.length;
  const head = Math.floor(room * 0.75);
  return text.slice(0, head) + CUT_MARK + text.slice(text.length - (room - head));
}

function fitsAsJson(value: unknown): boolean {
  try {
    // JSON.stringify answers undefined for what JSON cannot say (a function, a symbol).
    const text = JSON.stringify(value) as string | undefined;
    return text !== undefined && text.length <= EVIDENCE_JSON_MAX;
  } catch {
    return false; // a cycle or a BigInt: not JSON, so not evidence that can be stored
  }
}
