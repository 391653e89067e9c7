import { asNumber, asText, asTexts, member } from "./json-shape.ts";

/**
 * What a node raised, as `execution_error` tells it (execution.py 0.3.64). Paths in it are the
 * host's (F6), and `currentInputs` holds the user's own text: never match a pattern against it (F10).
 */
export interface ExecutionError {
  readonly promptId: string | undefined;
  readonly nodeId: string | undefined;
  readonly nodeType: string | undefined;
  /** Ends with a newline, and for a recognised OOM with ComfyUI's own tips. */
  readonly exceptionMessage: string;
  /** Bare for builtins, else with its module: `torch.OutOfMemoryError`. */
  readonly exceptionType: string;
  readonly traceback: readonly string[];
  readonly executedNodes: readonly string[];
  readonly currentInputs: unknown;
  /** Epoch milliseconds of ComfyUI's clock. */
  readonly at: number | undefined;
}

/** The type with which a blocked output is announced; the run goes on, nothing has failed (F11). */
export const EXECUTION_BLOCKED = "ExecutionBlocked";

/** Reads the data of an `execution_error`; what is missing is empty or undefined. */
export function parseExecutionError(data: unknown): ExecutionError {
  return {
    promptId: asText(member(data, "prompt_id")),
    nodeId: asText(member(data, "node_id")),
    nodeType: asText(member(data, "node_type")),
    exceptionMessage: asText(member(data, "exception_message")) ?? "",
    exceptionType: asText(member(data, "exception_type")) ?? "",
    traceback: asTexts(member(data, "traceback")),
    executedNodes: asTexts(member(data, "executed")),
    currentInputs: member(data, "current_inputs"),
    at: asNumber(member(data, "timestamp")),
  };
}
