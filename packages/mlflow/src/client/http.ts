/**
 * Calls to one MLflow: one exchange each, whole answers of limited size, a deadline of the injected
 * clock, never a second try and never a redirect, which would carry the credentials elsewhere. What a
 * call came to is data; it rejects only when its signal is aborted.
 */
import type { Readable } from "node:stream";
import { abortReason, type Clock } from "@holdfast/runtime";
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
export type Exchange = Answer | Extract<MlflowTrouble, { kind: "unreachable" | "timeout" }>;

/** Asks MLflow. */
export interface HttpPort {
  call(call: Call): Promise<Exchange | Extract<MlflowTrouble, { kind: "not_mlflow" }>>;
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

/** Codes that mean: no byte of the request has reached anybody. */
const NOT_SENT: ReadonlySet<string> = new Set([
  "EAI_AGAIN",
  "ECONNREFUSED",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "UND_ERR_CONNECT_TIMEOUT",
  "CERT_HAS_EXPIRED",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]);

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
  const exchange = async (call: Call, abort: AbortSignal) => {
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
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    for await (const chunk of answer) {
      const bytes = chunk as Buffer;
      sizeBytes += bytes.length;
      // Leaving the loop destroys the body, and with it the connection.
      if (sizeBytes > BODY_BYTES_MAX) {
        const message = `its answer is larger than ${BODY_BYTES_MAX} bytes`;
        return { kind: "not_mlflow", status: statusCode, message } as const;
      }
      chunks.push(bytes);
    }
    const retryAfter = headers["retry-after"];
    return {
      kind: "answer",
      status: statusCode,
      body: Buffer.concat(chunks).toString("utf8"),
      retryAfter: typeof retryAfter === "string" ? retryAfter : null,
    } as const;
  };
  return {
    call: (call) => withDeadline(options.clock, call, (abort) => exchange(call, abort)),
    close: () => agent.destroy(),
  };
}

async function withDeadline<T>(
  clock: Clock,
  call: Call,
  run: (abort: AbortSignal) => Promise<T>,
): Promise<T | Extract<MlflowTrouble, { kind: "unreachable" | "timeout" }>> {
  const { signal, timeoutMs } = call;
  if (isAborted(signal)) throw abortReason(signal);
  const abort = new AbortController();
  const timer = new AbortController();
  let isLate = false;
  const onAbort = (): void => abort.abort(CUT);
  signal.addEventListener("abort", onAbort, { once: true });
  clock.sleep(timeoutMs, timer.signal).then(
    () => {
      isLate = true;
      abort.abort(CUT);
    },
    // The exchange ended first.
    () => undefined,
  );
  try {
    return await run(abort.signal);
  } catch (error) {
    if (isAborted(signal)) throw abortReason(signal);
    if (isLate) return { kind: "timeout", afterMs: timeoutMs };
    const code = codeOf(error) ?? "UNKNOWN";
    const message = error instanceof Error && error.message !== "" ? error.message : code;
    return { kind: "unreachable", code, message, isSent: !NOT_SENT.has(code) };
  } finally {
    timer.abort(CUT);
    signal.removeEventListener("abort", onAbort);
    if (typeof call.body === "object") call.body.stream.destroy();
  }
}

/** Reason of our own signals; never seen by anybody. */
const CUT = new Error("the exchange was cut off");

/** A call, so that the compiler does not take an earlier look for the state after a wait. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** The system's code, looked for in causes and in the parts of an aggregate too. */
function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ("code" in error && typeof error.code === "string") return error.code;
  if (error instanceof AggregateError) return codeOf(error.errors[0]);
  return codeOf(error.cause);
}
