/**
 * Calls of RunPod's API: one exchange each, whole answers of limited size, a deadline of the injected
 * clock, and never a second try. What a call came to is data; it rejects only when its signal is aborted.
 */
import { abortReason, type Clock } from "@holdfast/runtime";
import { Agent, request } from "undici";

/** One call. */
export interface ApiCall {
  readonly method: "GET" | "POST" | "DELETE";
  /** With query, below the base URL: `/pods?limit=10`. */
  readonly path: string;
  /** JSON text. */
  readonly body?: string;
  readonly apiKey: string;
  readonly signal: AbortSignal;
}

/** What became of a call. */
export type ApiAnswer =
  /** Any status, with the whole body. */
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly body: string;
      readonly retryAfter: string | null;
    }
  /** No connection, or one that broke; `isSent`: RunPod may have got the request all the same. */
  | { readonly kind: "unreachable"; readonly code: string; readonly isSent: boolean }
  /** Nothing came in time, or not all of it: it may have been done, or may still be. */
  | { readonly kind: "timeout"; readonly afterMs: number }
  /** An answer that is larger than any that is expected. */
  | { readonly kind: "too_large"; readonly status: number; readonly maxBytes: number };

/** Asks RunPod. */
export interface Api {
  call(call: ApiCall): Promise<ApiAnswer>;
  close(): Promise<void>;
}

/** An account's thousand pods with their environments have a few megabytes. */
const BODY_BYTES_MAX = 16 * 1024 * 1024;
const CONNECT_TIMEOUT_MS = 10_000;
/** A list and a create may come while a slow one is under way. */
const CONNECTIONS = 4;

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

/** Makes an {@link Api} with connections of its own. Redirects are not followed: the key stays here. */
export function createApi(options: {
  readonly baseUrl: string;
  readonly clock: Clock;
  readonly timeoutMs: number;
  readonly bodyBytesMax?: number;
}): Api {
  const baseUrl = options.baseUrl.replace(/\/+$/, "");
  const limits = { bodyBytesMax: BODY_BYTES_MAX, ...options };
  const agent = new Agent({
    connections: CONNECTIONS,
    pipelining: 1,
    connect: { timeout: CONNECT_TIMEOUT_MS },
  });
  return {
    call: (call) => withDeadline(call, limits, (abort) => exchange(call, abort)),
    // Calls under way end as unreachable.
    close: () => agent.destroy(),
  };

  async function exchange(call: ApiCall, abort: AbortSignal): Promise<ApiAnswer> {
    const { statusCode, headers, body } = await request(`${baseUrl}${call.path}`, {
      method: call.method,
      headers: {
        authorization: `Bearer ${call.apiKey}`,
        accept: "application/json",
        "user-agent": "holdfast",
        ...(call.body === undefined ? {} : { "content-type": "application/json" }),
      },
      body: call.body ?? null,
      signal: abort,
      dispatcher: agent,
      // The deadline is of our own clock; 0 turns undici's off.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    for await (const chunk of body) {
      const bytes = chunk as Buffer;
      sizeBytes += bytes.length;
      // Leaving the loop destroys the body, and with it the connection.
      if (sizeBytes > limits.bodyBytesMax) {
        return { kind: "too_large", status: statusCode, maxBytes: limits.bodyBytesMax };
      }
      chunks.push(bytes);
    }
    const retryAfter = headers["retry-after"];
    return {
      kind: "answer",
      status: statusCode,
      body: Buffer.concat(chunks).toString("utf8"),
      retryAfter: typeof retryAfter === "string" ? retryAfter : null,
    };
  }
}

/** Runs one exchange under the deadline and the caller's signal. */
async function withDeadline(
  call: ApiCall,
  { clock, timeoutMs }: { readonly clock: Clock; readonly timeoutMs: number },
  run: (abort: AbortSignal) => Promise<ApiAnswer>,
): Promise<ApiAnswer> {
  const { signal } = call;
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
    return { kind: "unreachable", code, isSent: !NOT_SENT.has(code) };
  } finally {
    timer.abort(CUT);
    signal.removeEventListener("abort", onAbort);
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
