import { EXECUTION_BLOCKED, parseExecutionError, type ExecutionError } from "./execution-error.ts";
import { asNumber, asText, asTexts, isRecord, member, parseJson } from "./json-shape.ts";

/** Progress of one node in a `progress_state`. */
export interface NodeProgress {
  readonly nodeId: string;
  readonly value: number;
  readonly max: number;
  /** `pending`, `running`, `finished` or `error` as ComfyUI 0.3.64 has them. */
  readonly state: string;
}

/**
 * A text frame of ComfyUI's socket (F11). `promptId` is undefined where ComfyUI leaves it out: in
 * every `status`, and in the `executing` that greets a reconnected client.
 */
export type SocketMessage =
  | {
      readonly kind: "status";
      readonly queueRemaining: number | undefined;
      /** Only in the greeting: the id under which the socket is registered. */
      readonly sid: string | undefined;
    }
  | {
      readonly kind: "execution_start";
      readonly promptId: string | undefined;
      readonly at: number | undefined;
    }
  | {
      readonly kind: "execution_cached";
      readonly promptId: string | undefined;
      readonly nodes: readonly string[];
      readonly at: number | undefined;
    }
  | {
      readonly kind: "progress_state";
      readonly promptId: string | undefined;
      readonly nodes: readonly NodeProgress[];
    }
  | {
      readonly kind: "executing";
      readonly promptId: string | undefined;
      /** Undefined: nothing runs any more for this prompt, the last message of its run. */
      readonly nodeId: string | undefined;
      readonly displayNodeId: string | undefined;
    }
  | {
      readonly kind: "progress";
      readonly promptId: string | undefined;
      readonly nodeId: string | undefined;
      readonly value: number;
      readonly max: number;
    }
  | {
      readonly kind: "executed";
      readonly promptId: string | undefined;
      readonly nodeId: string | undefined;
      readonly displayNodeId: string | undefined;
      /** What the node showed; read it with `collectOutputFiles`. */
      readonly output: unknown;
    }
  | {
      readonly kind: "execution_success";
      readonly promptId: string | undefined;
      readonly at: number | undefined;
    }
  | {
      readonly kind: "execution_error";
      readonly promptId: string | undefined;
      readonly error: ExecutionError;
      /** An output was blocked on purpose: not the end of the run, and not in its history. */
      readonly isBlocked: boolean;
    }
  | {
      readonly kind: "execution_interrupted";
      readonly promptId: string | undefined;
      readonly nodeId: string | undefined;
      readonly nodeType: string | undefined;
      readonly executedNodes: readonly string[];
      readonly at: number | undefined;
    }
  | { readonly kind: "feature_flags"; readonly flags: Readonly<Record<string, unknown>> }
  | {
      readonly kind: "progress_text";
      readonly promptId: string | undefined;
      readonly nodeId: string | undefined;
      readonly text: string;
    }
  /** A type we do not know: custom nodes send their own. */
  | { readonly kind: "unknown"; readonly type: string; readonly data: unknown };

/** A frame that is no message at all. */
export interface UnparsableMessage {
  readonly kind: "unparsable";
  readonly reason: string;
}

/** Reads a text frame of ComfyUI's socket; see {@link SocketMessage}. Never throws. */
export function parseSocketMessage(text: string): SocketMessage | UnparsableMessage {
  const message = parseJson(text);
  if (!isRecord(message)) return { kind: "unparsable", reason: "not a JSON object" };
  const type = member(message, "type");
  if (typeof type !== "string") return { kind: "unparsable", reason: "no type" };
  return toMessage(type, member(message, "data"));
}

function toMessage(type: string, data: unknown): SocketMessage {
  const promptId = asText(member(data, "prompt_id"));
  const at = asNumber(member(data, "timestamp"));
  switch (type) {
    case "status": {
      const remaining = member(member(member(data, "status"), "exec_info"), "queue_remaining");
      return {
        kind: type,
        queueRemaining: asNumber(remaining),
        sid: asText(member(data, "sid")),
      };
    }
    case "execution_start":
    case "execution_success":
      return { kind: type, promptId, at };
    case "execution_cached":
      return { kind: type, promptId, nodes: asTexts(member(data, "nodes")), at };
    case "progress_state":
      return { kind: type, promptId, nodes: toNodeProgress(member(data, "nodes")) };
    case "executing":
    case "executed": {
      const nodeId = asText(member(data, "node"));
      const displayNodeId = asText(member(data, "display_node"));
      return type === "executing"
        ? { kind: type, promptId, nodeId, displayNodeId }
        : { kind: type, promptId, nodeId, displayNodeId, output: member(data, "output") };
    }
    case "progress":
      return {
        kind: type,
        promptId,
        nodeId: asText(member(data, "node")),
        value: asNumber(member(data, "value")) ?? 0,
        max: asNumber(member(data, "max")) ?? 0,
      };
    case "execution_error": {
      const error = parseExecutionError(data);
      return { kind: type, promptId, error, isBlocked: error.exceptionType === EXECUTION_BLOCKED };
    }
    case "execution_interrupted":
      return {
        kind: type,
        promptId,
        nodeId: asText(member(data, "node_id")),
        nodeType: asText(member(data, "node_type")),
        executedNodes: asTexts(member(data, "executed")),
        at,
      };
    case "feature_flags":
      return { kind: type, flags: isRecord(data) ? data : {} };
    case "progress_text":
      return {
        kind: type,
        promptId,
        nodeId: asText(member(data, "nodeId")) ?? asText(member(data, "node")),
        text: asText(member(data, "text")) ?? "",
      };
    default:
      return { kind: "unknown", type, data };
  }
}

function toNodeProgress(nodes: unknown): readonly NodeProgress[] {
  if (!isRecord(nodes)) return [];
  return Object.entries(nodes).map(([nodeId, node]) => ({
    nodeId,
    value: asNumber(member(node, "value")) ?? 0,
    max: asNumber(member(node, "max")) ?? 0,
    state: asText(member(node, "state")) ?? "unknown",
  }));
}
