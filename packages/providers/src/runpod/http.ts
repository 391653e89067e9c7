/**
 * Calls of RunPod's API: one exchange each, whole answers of limited size, a deadline of the injected
 * clock, and never a second try. What a call came to is data; it rejects only when its signal is aborted.
 */
import type { Clock } from "@holdfast/runtime";
import { exchangeUntil, readText, type ExchangeTrouble } from "@holdfast/runtime/host";
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
  | ExchangeTrouble
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
    call: (call) =>
      exchangeUntil({ ...limits, signal: call.signal }, (abort) => exchange(call, abort)),
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
    const text = await readText(body, limits.bodyBytesMax);
    if (text === undefined) {
      return { kind: "too_large", status: statusCode, maxBytes: limits.bodyBytesMax };
    }
    const retryAfter = headers["retry-after"];
    return {
      kind: "answer",
      status: statusCode,
      body: text,
      retryAfter: typeof retryAfter === "string" ? retryAfter : null,
    };
  }
}
