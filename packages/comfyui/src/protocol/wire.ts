/**
 * ComfyUI's own JSON, spelled as it spells it (server.py and execution.py, 0.3.64): for code that
 * speaks as ComfyUI does. Readers of the untrusted use the `parse…` functions instead.
 */

/** One entry of `errors` in `node_errors`, and the prompt-level `error`. */
export interface WireError {
  readonly type: string;
  readonly message: string;
  readonly details: string;
  readonly extra_info: Readonly<Record<string, unknown>>;
}

/** `node_errors` of an answer to `POST /prompt`, by node id. */
export type WireNodeErrors = Readonly<
  Record<
    string,
    {
      readonly errors: readonly WireError[];
      readonly dependent_outputs: readonly string[];
      readonly class_type: string;
    }
  >
>;

/** 200 from `POST /prompt`; `node_errors` names outputs that were dropped (F2). */
export interface WirePromptAccepted {
  readonly prompt_id: string;
  readonly number: number;
  readonly node_errors: WireNodeErrors;
}

/** 400 from `POST /prompt`. */
export interface WirePromptRejected {
  readonly error: WireError;
  readonly node_errors: WireNodeErrors;
}

/** An item of `/queue`, and `prompt` of a history entry: the last member lists the outputs to make. */
export type WireQueueItem = readonly [
  number: number,
  promptId: string,
  graph: Readonly<Record<string, unknown>>,
  extraData: Readonly<Record<string, unknown>>,
  outputs: readonly string[],
];

/** `GET /queue`. */
export interface WireQueue {
  readonly queue_running: readonly WireQueueItem[];
  readonly queue_pending: readonly WireQueueItem[];
}

/** One entry of `GET /history` and `GET /history/{id}`, which are keyed by prompt id. */
export interface WireHistoryEntry {
  readonly prompt: WireQueueItem;
  readonly outputs: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly status: {
    readonly status_str: "success" | "error";
    readonly completed: boolean;
    readonly messages: readonly (readonly [string, Readonly<Record<string, unknown>>])[];
  };
  readonly meta: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Data of `execution_error`, on the socket and in a history entry's messages. */
export interface WireExecutionError {
  readonly prompt_id: string;
  readonly node_id: string;
  readonly node_type: string;
  readonly executed: readonly string[];
  readonly exception_message: string;
  readonly exception_type: string;
  readonly traceback: readonly string[];
  readonly current_inputs: Readonly<Record<string, unknown>> | readonly unknown[];
  readonly current_outputs: readonly string[];
  readonly timestamp?: number;
}

/** A text frame of the socket. */
export interface WireSocketMessage {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}
