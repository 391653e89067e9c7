import {
  blobStoredSchema,
  checkpointResponseSchema,
  ERROR_CODES,
  HoldfastError,
  parseJsonKeepingIntegers,
  pollResponseSchema,
  registerResponseSchema,
  renewResponseSchema,
  reportResponseSchema,
  type ControlPlaneLink,
  type ErrorCode,
} from "@holdfast/contract";
import type { Abortable, Clock } from "@holdfast/runtime";
import { Readable } from "node:stream";
import { Agent, request, type Dispatcher } from "undici";
import type { z } from "zod";

/** Settings of {@link createHttpLink}. */
export interface HttpLinkOptions {
  /** `http://control-plane:8328`. */
  readonly baseUrl: string;
  /** The agent's key, sent as a bearer token; a promise while it is still to be had: calls wait for it. */
  readonly token?: string | Promise<string | undefined>;
  readonly clock: Clock;
  /** For calls other than polls and file transfers. */
  readonly callMs?: number;
}

/** The control plane over HTTP, with its connections to close. */
export interface HttpLink extends ControlPlaneLink {
  close(): Promise<void>;
}

const DEFAULT_CALL_MS = 30_000;
/** Above the wait of a poll, which the control plane limits to 60 s. */
const POLL_SLACK_MS = 15_000;
/** Between two pieces of a file on its way. */
const TRANSFER_IDLE_MS = 60_000;
const CONNECTIONS = 16;

/** The ways in which a link calls: with an answer, without, and with bytes. */
function createCaller(options: HttpLinkOptions) {
  const base = `${options.baseUrl.replace(/\/+$/, "")}/agent/v1`;
  const callMs = options.callMs ?? DEFAULT_CALL_MS;
  const dispatcher = new Agent({ connections: CONNECTIONS, pipelining: 1 });
  const headersOf = async (signal: Abortable): Promise<Record<string, string>> => {
    const { token } = options;
    const known = typeof token === "object" ? await unlessAborted(token, signal) : token;
    return known === undefined ? {} : { authorization: `Bearer ${known}` };
  };

  const send = async (
    method: "GET" | "POST" | "PUT",
    path: string,
    signal: Abortable,
    rest: {
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string | Readable;
      readonly headersMs: number;
    },
  ): Promise<Dispatcher.ResponseData> => {
    const authorization = await headersOf(signal);
    const { abort, release } = toAbortSignal(signal);
    try {
      const response = await request(`${base}${path}`, {
        method,
        headers: { ...authorization, ...rest.headers },
        body: rest.body ?? null,
        signal: abort.signal,
        headersTimeout: rest.headersMs,
        bodyTimeout: TRANSFER_IDLE_MS,
        dispatcher,
      });
      if (response.statusCode >= 300) throw await toError(response);
      return response;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw error;
    } finally {
      release();
    }
  };
  const call = async <T>(
    method: "POST" | "PUT",
    path: string,
    value: unknown,
    schema: z.ZodType<T>,
    signal: Abortable,
    headersMs = callMs,
  ): Promise<T> => {
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify(value);
    const response = await send(method, path, signal, { headers, body, headersMs });
    return schema.parse(parseJsonKeepingIntegers(await response.body.text()));
  };

  /** A call whose answer has nothing in it. */
  const tell = async (
    method: "POST" | "PUT",
    path: string,
    value: unknown,
    signal: Abortable,
  ): Promise<void> => {
    const headers = { "content-type": "application/json" };
    const rest = { headers, body: JSON.stringify(value), headersMs: callMs };
    const response = await send(method, path, signal, rest);
    await response.body.dump();
  };
  return { call, tell, send, callMs, close: () => dispatcher.destroy() };
}

/** Makes a link over HTTP with connections that are kept alive. See `ControlPlaneLink` for errors. */
export function createHttpLink(options: HttpLinkOptions): HttpLink {
  const { call, tell, send, callMs, close } = createCaller(options);
  return {
    register: (value, signal) => call("POST", "/register", value, registerResponseSchema, signal),
    poll: (value, signal) =>
      call("POST", "/poll", value, pollResponseSchema, signal, value.waitMs + POLL_SLACK_MS),
    renew: (value, signal) => call("POST", "/renew", value, renewResponseSchema, signal),
    report: (value, signal) => call("POST", "/reports", value, reportResponseSchema, signal),
    checkpoints: (value, signal) =>
      call("POST", "/checkpoints", value, checkpointResponseSchema, signal),
    putInventory: (upload, signal) => tell("PUT", "/inventories", upload, signal),
    putMachineReport: (value, signal) => tell("PUT", "/machine-report", value, signal),
    putStartupSteps: (value, signal) => tell("POST", "/startup-steps", value, signal),
    putBlob: async (source, signal) => {
      const response = await send("PUT", `/blobs/${source.sha256}`, signal, {
        headers: {
          "content-type": "application/octet-stream",
          "content-length": String(source.sizeBytes),
        },
        body: Readable.from(source.open()),
        headersMs: TRANSFER_IDLE_MS,
      });
      return blobStoredSchema.parse(await response.body.json());
    },
    getBlob: async (sha256, signal) => {
      const response = await send("GET", `/blobs/${sha256}`, signal, { headersMs: callMs });
      return response.body;
    },
    close,
  };
}

/** The answer's own error, by its code, or one by its status when something else answered. */
export async function toError(
  response: Pick<Dispatcher.ResponseData, "body" | "headers" | "statusCode">,
): Promise<HoldfastError> {
  const text = await response.body.text();
  const { code, message } = readError(text);
  const retryAfter = Number(response.headers["retry-after"]);
  return new HoldfastError(
    code ?? codeOf(response.statusCode),
    message ?? `HTTP ${response.statusCode}: ${text.slice(0, 500)}`,
    Number.isFinite(retryAfter) ? { retryAfterSeconds: retryAfter } : {},
  );
}

/** Of an answer that is not ours, or of another version. */
function codeOf(status: number): ErrorCode {
  if (status >= 500) return "overloaded";
  return status === 404 ? "not_found" : "invalid_request";
}

function readError(text: string): {
  code: ErrorCode | undefined;
  message: string | undefined;
} {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // A proxy's page; its status tells.
  }
  const error: unknown =
    typeof value === "object" && value !== null && "error" in value ? value.error : undefined;
  if (typeof error !== "object" || error === null) return { code: undefined, message: undefined };
  const code = "code" in error ? error.code : undefined;
  const message = "message" in error ? error.message : undefined;
  return {
    code: typeof code === "string" && isErrorCode(code) ? code : undefined,
    message: typeof message === "string" ? message : undefined,
  };
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CODES, code);
}

/** What is waited for, or the reason of the signal, whichever is first. */
async function unlessAborted<T>(wanted: Promise<T>, signal: Abortable): Promise<T> {
  const { abort, release } = toAbortSignal(signal);
  try {
    abort.signal.throwIfAborted();
    const aborted = new Promise<never>((_resolve, reject) => {
      abort.signal.addEventListener("abort", () => reject(abort.signal.reason as Error), {
        once: true,
      });
    });
    return await Promise.race([wanted, aborted]);
  } finally {
    release();
  }
}

/** A platform signal that follows ours, which is only the part of one that pure code can name. */
function toAbortSignal(signal: Abortable): { abort: AbortController; release: () => void } {
  const abort = new AbortController();
  const onAbort = (): void => abort.abort(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  return { abort, release: () => signal.removeEventListener("abort", onAbort) };
}
