import { ERROR_CODES, HoldfastError, type ErrorCode } from "@holdfast/contract";
import { growingPause, type ClientClock } from "./timing.ts";

/** Where the server is, and how to get in. */
export interface ServerOptions {
  /** Default `http://127.0.0.1:8328`. */
  readonly url?: string;
  /** Needed as soon as the server has one. */
  readonly apiKey?: string;
  /**
   * How long a server that cannot be reached is waited for, in ms. Its jobs go on meanwhile.
   * Default ten minutes.
   */
  readonly unreachableLimitMs?: number;
  /** For tests. */
  readonly clock?: ClientClock;
}

/** The server was not reached for as long as {@link ServerOptions} allows. Its jobs may go on. */
export class ServerUnreachableError extends Error {
  override readonly name = "ServerUnreachableError";
}

/** One call of the server. */
export interface Call {
  readonly method?: "GET" | "POST" | "DELETE";
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /**
   * Whether it may be sent again when its answer was lost: it reads, or it carries a key by which the
   * server knows a repeat.
   */
  readonly isRepeatable: boolean;
  readonly signal: AbortSignal;
}

/** Calls a server; rides out what passes. */
export interface Connection {
  readonly baseUrl: string;
  /**
   * The answer's JSON. Throws `HoldfastError` with the server's code when it refuses,
   * {@link ServerUnreachableError} when it was away for too long, the signal's reason when aborted.
   */
  call(path: string, call: Call): Promise<unknown>;
}

export const DEFAULT_SERVER_URL = "http://127.0.0.1:8328";
const DEFAULT_UNREACHABLE_LIMIT_MS = 10 * 60_000;
/** One request takes at most so long. */
const REQUEST_LIMIT_MS = 30_000;
const FIRST_PAUSE_MS = 250;
const MAX_PAUSE_MS = 10_000;
const MS_PER_SECOND = 1_000;
const TOO_MANY_REQUESTS = 429;
const FIRST_SERVER_ERROR = 500;

type Answer =
  | { readonly kind: "answered"; readonly body: unknown }
  | { readonly kind: "refused"; readonly error: HoldfastError }
  /** It may be otherwise soon: no connection, a server that starts or is busy. */
  | { readonly kind: "passing"; readonly error: Error; readonly retryAfterMs: number };

/** Makes a connection; it opens nothing by itself. Throws `TypeError` when the URL is none. */
export function createConnection(
  options: ServerOptions & { readonly clock: ClientClock },
): Connection {
  const baseUrl = new URL(options.url ?? DEFAULT_SERVER_URL).href.replace(/\/+$/, "");
  const limitMs = options.unreachableLimitMs ?? DEFAULT_UNREACHABLE_LIMIT_MS;
  const { clock, apiKey } = options;
  return {
    baseUrl,
    async call(path, call) {
      const begunAt = clock.elapsed();
      for (let attempt = 1; ; attempt += 1) {
        call.signal.throwIfAborted();
        const answer = await once(`${baseUrl}${path}`, call, { apiKey, clock });
        if (answer.kind === "answered") return answer.body;
        if (answer.kind === "refused") throw answer.error;
        if (!call.isRepeatable) throw answer.error;
        const pauseMs = Math.max(
          growingPause(attempt, FIRST_PAUSE_MS, MAX_PAUSE_MS),
          answer.retryAfterMs,
        );
        if (clock.elapsed() - begunAt + pauseMs > limitMs) {
          throw new ServerUnreachableError(
            `${baseUrl} has not answered for ${Math.round((clock.elapsed() - begunAt) / MS_PER_SECOND)} s: ${answer.error.message}`,
            { cause: answer.error },
          );
        }
        await clock.sleep(pauseMs, call.signal);
      }
    },
  };
}

async function once(
  url: string,
  call: Call,
  { apiKey, clock }: { readonly apiKey: string | undefined; readonly clock: ClientClock },
): Promise<Answer> {
  // By hand, not by `AbortSignal.any`: its list of followers grows with every call in Node 20.
  const over = new AbortController();
  const onAbort = (): void => over.abort(call.signal.reason);
  call.signal.addEventListener("abort", onAbort, { once: true });
  const limit = clock.sleep(REQUEST_LIMIT_MS, over.signal).then(
    () => over.abort(new Error(`no answer within ${REQUEST_LIMIT_MS / MS_PER_SECOND} s`)),
    () => undefined,
  );
  try {
    const response = await fetch(url, {
      method: call.method ?? "GET",
      headers: {
        accept: "application/json",
        ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
        ...(call.body !== undefined && { "content-type": "application/json" }),
        ...call.headers,
      },
      ...(call.body !== undefined && { body: JSON.stringify(call.body) }),
      signal: over.signal,
    });
    return await readAnswer(response);
  } catch (error) {
    call.signal.throwIfAborted();
    const reason = over.signal.aborted ? (over.signal.reason as Error) : causeOf(error);
    return {
      kind: "passing",
      error: new ServerUnreachableError(`${url}: ${reason.message}`, { cause: error }),
      retryAfterMs: 0,
    };
  } finally {
    call.signal.removeEventListener("abort", onAbort);
    over.abort();
    await limit;
  }
}

/** `fetch` says "fetch failed", and why in its cause. */
function causeOf(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(String(error));
  return error.cause instanceof Error ? error.cause : error;
}

async function readAnswer(response: Response): Promise<Answer> {
  const text = await response.text();
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined; // A proxy's page, or something that is no Holdfast.
  }
  if (response.ok && body !== undefined) return { kind: "answered", body };
  const error = toError(response.status, body);
  const isPassing =
    response.status >= FIRST_SERVER_ERROR || response.status === TOO_MANY_REQUESTS || response.ok;
  if (!isPassing) return { kind: "refused", error };
  const seconds = Number(response.headers.get("retry-after") ?? "0");
  const retryAfterMs = Number.isFinite(seconds) ? seconds * MS_PER_SECOND : 0;
  return { kind: "passing", error, retryAfterMs };
}

function toError(status: number, body: unknown): HoldfastError {
  const error = fieldOf(body, "error");
  const code = fieldOf(error, "code");
  const message = fieldOf(error, "message");
  const details = fieldOf(error, "details");
  return new HoldfastError(
    isErrorCode(code) ? code : "internal",
    typeof message === "string" ? message : `HTTP ${status} from something that is no Holdfast`,
    typeof details === "object" && details !== null
      ? { details: details as Readonly<Record<string, unknown>> }
      : {},
  );
}

function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === "string" && Object.hasOwn(ERROR_CODES, value);
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;
}
