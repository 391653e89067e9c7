/**
 * Calls to one MLflow: one exchange each, whole answers of limited size, a deadline of the injected
 * clock, never a second try and never a redirect, which would carry the credentials elsewhere. What a
 * call came to is data; it rejects only when its signal is aborted.
 */
import type { Readable } from "node:stream";
import type { Clock } from "@holdfast/runtime";
import { exchangeUntil, readText, type ExchangeTrouble } from "@holdfast/runtime/host";
import { Agent, request } from "undici";
import type { TrackingTarget } from "./tracking-target.ts";
import type { MlflowTrouble } from "./trouble.ts";

/** One call. */
export interface Call {
  readonly method: "GET" | "POST" | "PUT";
  /** With query, below the base URL: `/health`. */
  readonly path: string;
  /** JSON text, or bytes with their exact number. */
  readonly body?: string | { readonly stream: Readable; readonly sizeBytes: number };
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Any status, with the whole body. */
export interface Answer {
  readonly kind: "answer";
  readonly status: number;
  readonly body: string;
  readonly retryAfter: string | null;
}

/** What became of a call. */
export type Exchange = Answer | ExchangeTrouble | Extract<MlflowTrouble, { kind: "not_mlflow" }>;

/** Asks MLflow. */
export interface HttpPort {
  call(call: Call): Promise<Exchange>;
  /** Calls under way end as unreachable. */
  close(): Promise<void>;
}

/** A search of two runs with all that is logged in them. */
const BODY_BYTES_MAX = 16 * 1024 * 1024;
const HEADERS_BYTES_MAX = 32 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;
/**
 * uvicorn closes connections that are idle for 5 s, gunicorn for 2 s. Ours go first: a POST that meets
 * a dying connection is in doubt, and costs a search.
 */
const KEEP_ALIVE_MS = 1_500;

/** Makes a {@link HttpPort} with connections of its own. */
export function createHttpPort(options: {
  readonly target: TrackingTarget;
  readonly clock: Clock;
  readonly connections: number;
}): HttpPort {
  const { baseUrl, authorization } = options.target;
  const agent = new Agent({
    connections: options.connections,
    pipelining: 1,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS,
    maxHeaderSize: HEADERS_BYTES_MAX,
    connect: { timeout: CONNECT_TIMEOUT_MS },
  });
  const exchange = async (call: Call, abort: AbortSignal): Promise<Exchange> => {
    const { body } = call;
    const {
      statusCode,
      headers,
      body: answer,
    } = await request(`${baseUrl}${call.path}`, {
      method: call.method,
      headers: {
        accept: "application/json",
        "user-agent": "holdfast",
        ...(authorization === null ? {} : { authorization }),
        ...(typeof body === "string" ? { "content-type": "application/json" } : {}),
        ...(typeof body === "object"
          ? {
              "content-type": "application/octet-stream",
              "content-length": String(body.sizeBytes),
            }
          : {}),
      },
      body: typeof body === "object" ? body.stream : (body ?? null),
      signal: abort,
      dispatcher: agent,
      // The deadline is of our own clock; 0 turns undici's off.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    const text = await readText(answer, BODY_BYTES_MAX);
    if (text === undefined) {
      const message = `its answer is larger than ${BODY_BYTES_MAX} bytes`;
      return { kind: "not_mlflow", status: statusCode, message };
    }
    const retryAfter = headers["retry-after"];
    return {
      kind: "answer",
      status: statusCode,
      body: text,
      retryAfter: typeof retryAfter === "string" ? retryAfter : null,
    };
  };
  return {
    async call(call) {
      const { timeoutMs, signal, body } = call;
      try {
        const limits = { clock: options.clock, timeoutMs, signal };
        return await exchangeUntil(limits, (abort) => exchange(call, abort));
      } finally {
        if (typeof body === "object") body.stream.destroy();
      }
    },
    close: () => agent.destroy(),
  };
}
