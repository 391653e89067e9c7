import type { Abortable, Clock, Random } from "@holdfast/runtime";
import type { Dispatcher } from "undici";
import { cancelUntilConfirmed, type CancelOutcome } from "./cancel.ts";
import { createCalls, jsonCall, type ComfyCalls } from "./calls.ts";
import { createHttpPort } from "./http.ts";
import { lookUpPrompt, type PromptLookup } from "./lookup.ts";
import {
  DEFAULT_RESUBMIT_POLICY,
  submitWithLookup,
  toSubmitOutcome,
  type PromptRequest,
  type ResubmitPolicy,
  type SubmitOutcome,
} from "./submit.ts";
import { uploadInput, type InputUpload, type UploadOutcome } from "./upload.ts";
import { viewFile, type FileRef, type ViewOutcome } from "./view.ts";

/** How long calls may take. ComfyUI stops answering for seconds now and then, without being dead (F29). */
export interface ComfyTimeouts {
  readonly connectMs: number;
  /** For one call and its whole answer, and for the headers of a file. */
  readonly requestMs: number;
  /** For `POST /prompt`, which validates in the event loop. */
  readonly submitMs: number;
  /** For one whole upload. */
  readonly uploadMs: number;
  /** Between two pieces of a body. */
  readonly bodyIdleMs: number;
}

/** What a client takes without being told otherwise. */
export const DEFAULT_TIMEOUTS: ComfyTimeouts = {
  connectMs: 5_000,
  requestMs: 30_000,
  submitMs: 60_000,
  uploadMs: 600_000,
  bodyIdleMs: 60_000,
};

/** Settings of {@link createComfyClient}. */
export interface ComfyClientOptions {
  /** `http://127.0.0.1:8188`, with a path when a proxy puts ComfyUI below one. */
  readonly baseUrl: string;
  /** Under which the instance's socket is registered: events of our prompts go there. */
  readonly clientId: string;
  readonly clock: Clock;
  /** Spreads the pauses between repeated calls; without it they are not spread. */
  readonly random?: Random;
  readonly timeouts?: Partial<ComfyTimeouts>;
  readonly resubmit?: Partial<ResubmitPolicy>;
  /** Connections at most; each carries one request at a time. */
  readonly connections?: number;
  /** Sent with every request, for a proxy that wants them. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Answers of more bytes than this are `malformed`. */
  readonly maxAnswerBytes?: number;
  /** Takes the place of the client's own agent, and is not closed with it. */
  readonly dispatcher?: Dispatcher;
}

/**
 * One ComfyUI over HTTP. Normal trouble comes back as data; a method rejects only when the signal
 * it was given is aborted, with that signal's reason.
 */
export interface ComfyClient extends ComfyCalls {
  readonly baseUrl: string;
  readonly clientId: string;
  /** Where a prompt is now, by queue and then history. */
  lookUp(promptId: string, signal?: Abortable): Promise<PromptLookup>;
  /** One POST, never repeated. */
  submit(request: PromptRequest, signal?: Abortable): Promise<SubmitOutcome>;
  /**
   * Submits and settles doubt by looking the id up before any second POST (F1, F27). `lookFirst`:
   * even before the first one, for an id that may have been posted in an earlier life.
   */
  submitOnce(
    request: PromptRequest,
    options?: { readonly lookFirst?: boolean; readonly signal?: Abortable },
  ): Promise<SubmitOutcome>;
  /** Removes or interrupts a prompt, and looks until queue and history confirm it. */
  cancelPrompt(
    promptId: string,
    options: { readonly confirmWithinMs: number; readonly signal?: Abortable },
  ): Promise<CancelOutcome>;
  /** Opens a file; see {@link ViewOutcome}. */
  view(ref: FileRef, signal?: Abortable): Promise<ViewOutcome>;
  uploadInput(upload: InputUpload, signal?: Abortable): Promise<UploadOutcome>;
  /** Ends every connection; calls under way come back as `unreachable`. */
  close(): Promise<void>;
}

const DEFAULT_CONNECTIONS = 4;
/** `/object_info` of an instance with many nodes and models has some tens of megabytes. */
const DEFAULT_MAX_ANSWER_BYTES = 128 * 1024 * 1024;

/** Makes a client; opens no connection before the first call. Throws when `baseUrl` is no URL. */
export function createComfyClient(options: ComfyClientOptions): ComfyClient {
  const { clock, clientId } = options;
  const timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
  const policy = { ...DEFAULT_RESUBMIT_POLICY, ...options.resubmit };
  const random = options.random ?? { next: () => 0 };
  const maxBodyBytes = options.maxAnswerBytes ?? DEFAULT_MAX_ANSWER_BYTES;
  const port = createHttpPort({
    baseUrl: options.baseUrl,
    clock,
    connections: options.connections ?? DEFAULT_CONNECTIONS,
    connectTimeoutMs: timeouts.connectMs,
    bodyIdleMs: timeouts.bodyIdleMs,
    headers: options.headers ?? {},
    dispatcher: options.dispatcher,
  });
  const limits = { timeoutMs: timeouts.requestMs, maxBodyBytes };
  const calls = createCalls(port, limits);
  const lookUp: ComfyClient["lookUp"] = (promptId, signal) =>
    lookUpPrompt(promptId, {
      queue: () => calls.queue(signal),
      history: () => calls.history(promptId, signal),
    });
  const submit: ComfyClient["submit"] = async (request, signal) => {
    const body = {
      prompt: request.graph,
      prompt_id: request.promptId,
      client_id: clientId,
      ...(request.extraData !== undefined && { extra_data: request.extraData }),
    };
    const call = jsonCall("/prompt", body, { timeoutMs: timeouts.submitMs, maxBodyBytes, signal });
    return toSubmitOutcome(await port.call(call), request.promptId);
  };
  return {
    ...calls,
    baseUrl: options.baseUrl,
    clientId,
    lookUp,
    submit,
    submitOnce: (request, { lookFirst = false, signal } = {}) =>
      submitWithLookup({
        submit: () => submit(request, signal),
        lookUp: () => lookUp(request.promptId, signal),
        lookFirst,
        policy,
        clock,
        random,
        signal,
      }),
    cancelPrompt: (promptId, { confirmWithinMs, signal }) =>
      cancelUntilConfirmed({
        lookUp: () => lookUp(promptId, signal),
        deletePending: () => calls.deletePending([promptId], signal),
        interrupt: () => calls.interrupt(promptId, signal),
        confirmWithinMs,
        clock,
        signal,
      }),
    view: (ref, signal) => viewFile(port, ref, { ...limits, signal }),
    uploadInput: (upload, signal) =>
      uploadInput(port, upload, { timeoutMs: timeouts.uploadMs, maxBodyBytes, signal }),
    close: () => port.close(),
  };
}
