import type { Abortable } from "@holdfast/runtime";
import {
  MAX_KEPT_BODY,
  type Answer,
  type Call,
  type ClientTrouble,
  type HttpPort,
} from "./http.ts";
import {
  parseHistoryEntry,
  parseHistoryList,
  parseModelMetadata,
  parseModelSizes,
  parseObjectInfo,
  parseQueue,
  parseSystemStats,
  type HistoryEntry,
  type ModelMetadata,
  type ObjectInfo,
  type Queue,
  type SystemStats,
} from "./protocol/index.ts";

/** A value, or why there is none. */
export type Reply<T> = ({ readonly kind: "ok" } & T) | ClientTrouble;

/** The calls that are one request each. */
export interface ComfyCalls {
  systemStats(signal?: Abortable): Promise<Reply<{ readonly stats: SystemStats }>>;
  objectInfo(signal?: Abortable): Promise<Reply<{ readonly objectInfo: ObjectInfo }>>;
  /**
   * What a model file says of itself; undefined where there is no such file, or no metadata in it.
   * `http` with 500 is what a broken file is answered with.
   */
  modelMetadata(
    folder: string,
    name: string,
    signal?: Abortable,
  ): Promise<Reply<{ readonly metadata: ModelMetadata | undefined }>>;
  /** Sizes in bytes of the files of a model folder, by name; older versions answer with 404. */
  modelSizes(
    folder: string,
    signal?: Abortable,
  ): Promise<Reply<{ readonly sizes: ReadonlyMap<string, number> }>>;
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
  /** Stops this prompt if it is the one running; `ok` does not say that it was (F13). */
  interrupt(promptId: string, signal?: Abortable): Promise<Reply<object>>;
  /** Takes prompts out of the queue; `ok` does not say that they were in it. */
  deletePending(promptIds: readonly string[], signal?: Abortable): Promise<Reply<object>>;
  /** Frees what ComfyUI keeps of prompts whose outputs have been collected (F9). */
  deleteHistory(promptIds: readonly string[], signal?: Abortable): Promise<Reply<object>>;
  /** Takes effect when the running prompt has ended (F14). */
  free(
    what: { readonly unloadModels: boolean; readonly freeMemory: boolean },
    signal?: Abortable,
  ): Promise<Reply<object>>;
}

/** A header of at most 1 MiB (server.py, 0.3.64), of which each character may be escaped in six. */
const METADATA_MAX_BYTES = 6 * 1024 * 1024;
/** A header is read in the event loop; a file on a dead mount must not hold whoever asks for long. */
const METADATA_MS = 10_000;

/** Makes the calls over a port, all with the same limits. */
export function createCalls(
  port: HttpPort,
  limits: Pick<Call, "timeoutMs" | "maxBodyBytes">,
): ComfyCalls {
  const get = async <T>(
    path: string,
    signal: Abortable | undefined,
    read: (value: unknown) => T | undefined,
  ): Promise<Reply<T>> =>
    readJson(await port.call({ method: "GET", path, ...limits, signal }), path, read);
  const post = async (
    path: string,
    value: unknown,
    signal: Abortable | undefined,
  ): Promise<Reply<object>> =>
    expectOk(await port.call(jsonCall(path, value, { ...limits, signal })));

  return {
    systemStats: (signal) =>
      get("/system_stats", signal, (value) => {
        const stats = parseSystemStats(value);
        return stats && { stats };
      }),
    objectInfo: (signal) =>
      get("/object_info", signal, (value) => {
        const objectInfo = parseObjectInfo(value);
        return objectInfo && { objectInfo };
      }),
    async modelMetadata(folder, name, signal) {
      const path = `/view_metadata/${encodeURIComponent(folder)}?filename=${encodeURIComponent(name)}`;
      const answer = await port.call({
        method: "GET",
        path,
        timeoutMs: Math.min(limits.timeoutMs, METADATA_MS),
        maxBodyBytes: Math.min(limits.maxBodyBytes, METADATA_MAX_BYTES),
        signal,
      });
      if (answer.kind === "answer" && answer.status === 404) {
        return { kind: "ok", metadata: undefined };
      }
      return readJson(answer, path, (value) => {
        const metadata = parseModelMetadata(value);
        return metadata && { metadata };
      });
    },
    modelSizes: (folder, signal) =>
      get(`/experiment/models/${encodeURIComponent(folder)}`, signal, (value) => {
        const sizes = parseModelSizes(value);
        return sizes && { sizes };
      }),
    queue: (signal) =>
      get("/queue", signal, (value) => {
        const queue = parseQueue(value);
        return queue && { queue };
      }),
    history: (promptId, signal) =>
      get(`/history/${encodeURIComponent(promptId)}`, signal, (value) =>
        isObject(value) ? { entry: parseHistoryEntry(value, promptId) } : undefined,
      ),
    historyList: (maxItems, signal) =>
      get(`/history?max_items=${maxItems}`, signal, (value) =>
        isObject(value) ? { entries: parseHistoryList(value) } : undefined,
      ),
    interrupt: (promptId, signal) => post("/interrupt", { prompt_id: promptId }, signal),
    deletePending: (promptIds, signal) => post("/queue", { delete: promptIds }, signal),
    deleteHistory: (promptIds, signal) => post("/history", { delete: promptIds }, signal),
    free: ({ unloadModels, freeMemory }, signal) =>
      post("/free", { unload_models: unloadModels, free_memory: freeMemory }, signal),
  };
}

/** A POST of JSON. */
export function jsonCall(
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
): Reply<T> {
  if (answer.kind !== "answer") return answer;
  if (answer.status !== 200) return toHttpTrouble(answer);
  try {
    const value = read(JSON.parse(answer.body));
    if (value !== undefined) return { kind: "ok", ...value };
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
