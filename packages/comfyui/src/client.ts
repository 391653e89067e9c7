import type { Abortable, Clock, Random } from "@holdfast/runtime";
import type { Dispatcher } from "undici";
import { cancelUntilConfirmed, type CancelOutcome } from "./cancel.ts";
import {
  createHttpPort,
  MAX_KEPT_BODY,
  type Answer,
  type Call,
  type ClientTrouble,
} from "./http.ts";
import { lookUpPrompt, type PromptLookup } from "./lookup.ts";
import {
  parseHistoryEntry,
  parseHistoryList,
  parseObjectInfo,
  parseQueue,
  parseSystemStats,
  type HistoryEntry,
  type ObjectInfo,
  type Queue,
  type SystemStats,
} from "./protocol/index.ts";
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

/** A value, or why there is none. */
export type Reply<T> = ({ readonly kind: "ok" } & T) | ClientTrouble;

/**
 * One ComfyUI over HTTP. Normal trouble comes back as data; a method rejects only when the signal
 * it was given is aborted, with that signal's reason.
 */
export interface ComfyClient {
  readonly baseUrl: string;
  readonly clientId: string;
  systemStats(signal?: Abortable): Promise<Reply<{ readonly stats: SystemStats }>>;
  objectInfo(signal?: Abortable): Promise<Reply<{ readonly objectInfo: ObjectInfo }>>;
  queue(signal?: Abortable): Promise<Reply<{ readonly queue: Queue }>>;
  /** `entry` is undefined until the prompt has ended. */
  history(
    promptId: string,
    signal?: Abortable,
  ): Promise<Reply<{ readonly entry: HistoryEntry | undefined }>>;
  /** The newest entries, the oldest of them first. */
  historyList(
    maxItems: number,
    signal?: Abortable,
  ): Promise<Reply<{ readonly entries: readonly HistoryEntry[] }>>;
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
  /** Stops this prompt if it is the one running; `ok` does not say that it was (F13). */
  interrupt(promptId: string, signal?: Abortable): Promise<Reply<object>>;
  deletePending(promptIds: readonly string[], signal?: Abortable): Promise<Reply<object>>;
  cancelPrompt(
    promptId: string,
    options: { readonly confirmWithinMs: number; readonly signal?: Abortable },
  ): Promise<CancelOutcome>;
  deleteHistory(promptIds: readonly string[], signal?: Abortable): Promise<Reply<object>>;
  /** Takes effect when the running prompt has ended (F14). */
  free(
    what: { readonly unloadModels: boolean; readonly freeMemory: boolean },
    signal?: Abortable,
  ): Promise<Reply<object>>;
  /** Opens a file; see {@link ViewOutcome}. */
  view(ref: FileRef, signal?: Abortable): Promise<ViewOutcome>;
  uploadInput(upload: InputUpload, signal?: Abortable): Promise<UploadOutcome>;
  /** Ends every connection; calls under way come back as `unreachable`. */
  close(): Promise<void>;
}

const DEFAULT_CONNECTIONS = 4;
/** `/object_info` of an instance with many nodes and models has some tens of megabytes. */
const DEFAULT_MAX_ANSWER_BYTES = 128 * 1024 * 1024;

/** Makes a client; opens no connection before the first call. */
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

  const get = async <T>(
    path: string,
    signal: Abortable | undefined,
    read: (value: unknown) => T | undefined,
  ): Promise<Reply<{ value: T }>> =>
    readJson(await port.call({ method: "GET", path, ...limits, signal }), path, read);
  const post = async (
    path: string,
    value: unknown,
    signal: Abortable | undefined,
  ): Promise<Reply<object>> =>
    expectOk(await port.call(jsonCall(path, value, { ...limits, signal })));

  const queue: ComfyClient["queue"] = async (signal) => {
    const reply = await get("/queue", signal, parseQueue);
    return reply.kind === "ok" ? { kind: "ok", queue: reply.value } : reply;
  };
  const history: ComfyClient["history"] = async (promptId, signal) => {
    const path = `/history/${encodeURIComponent(promptId)}`;
    const reply = await get(path, signal, (value) =>
      isObject(value) ? { entry: parseHistoryEntry(value, promptId) } : undefined,
    );
    return reply.kind === "ok" ? { kind: "ok", entry: reply.value.entry } : reply;
  };
  const lookUp: ComfyClient["lookUp"] = (promptId, signal) =>
    lookUpPrompt(promptId, {
      queue: () => queue(signal),
      history: () => history(promptId, signal),
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
  const interrupt: ComfyClient["interrupt"] = (promptId, signal) =>
    post("/interrupt", { prompt_id: promptId }, signal);
  const deletePending: ComfyClient["deletePending"] = (promptIds, signal) =>
    post("/queue", { delete: promptIds }, signal);

  return {
    baseUrl: options.baseUrl,
    clientId,
    systemStats: async (signal) => {
      const reply = await get("/system_stats", signal, parseSystemStats);
      return reply.kind === "ok" ? { kind: "ok", stats: reply.value } : reply;
    },
    objectInfo: async (signal) => {
      const reply = await get("/object_info", signal, parseObjectInfo);
      return reply.kind === "ok" ? { kind: "ok", objectInfo: reply.value } : reply;
    },
    queue,
    history,
    historyList: async (maxItems, signal) => {
      const reply = await get(`/history?max_items=${maxItems}`, signal, (value) =>
        isObject(value) ? parseHistoryList(value) : undefined,
      );
      return reply.kind === "ok" ? { kind: "ok", entries: reply.value } : reply;
    },
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
    interrupt,
    deletePending,
    cancelPrompt: (promptId, { confirmWithinMs, signal }) =>
      cancelUntilConfirmed({
        lookUp: () => lookUp(promptId, signal),
        deletePending: () => deletePending([promptId], signal),
        interrupt: () => interrupt(promptId, signal),
        confirmWithinMs,
        clock,
        signal,
      }),
    deleteHistory: (promptIds, signal) => post("/history", { delete: promptIds }, signal),
    free: ({ unloadModels, freeMemory }, signal) =>
      post("/free", { unload_models: unloadModels, free_memory: freeMemory }, signal),
    view: (ref, signal) => viewFile(port, ref, { ...limits, signal }),
    uploadInput: (upload, signal) =>
      uploadInput(port, upload, { timeoutMs: timeouts.uploadMs, maxBodyBytes, signal }),
    close: () => port.close(),
  };
}

function jsonCall(
  path: string,
  value: unknown,
  rest: Pick<Call, "timeoutMs" | "maxBodyBytes" | "signal">,
): Call {
  const headers = { "content-type": "application/json" };
  return { method: "POST", path, body: JSON.stringify(value), headers, ...rest };
}

function readJson<T>(
  answer: Answer | ClientTrouble,
  path: string,
  read: (value: unknown) => T | undefined,
): Reply<{ value: T }> {
  if (answer.kind !== "answer") return answer;
  if (answer.status !== 200) return toHttpTrouble(answer);
  try {
    const value = read(JSON.parse(answer.body));
    if (value !== undefined) return { kind: "ok", value };
  } catch {
    // Told below, like JSON of another shape.
  }
  return { kind: "malformed", message: `${path} answered 200 with something else than expected` };
}

function expectOk(answer: Answer | ClientTrouble): Reply<object> {
  if (answer.kind !== "answer") return answer;
  return answer.status === 200 ? { kind: "ok" } : toHttpTrouble(answer);
}

function toHttpTrouble(answer: Answer): ClientTrouble {
  return { kind: "http", status: answer.status, body: answer.body.slice(0, MAX_KEPT_BODY) };
}

function isObject(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
