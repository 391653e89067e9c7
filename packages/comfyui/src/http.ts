import { Readable } from "node:stream";
import { abortReason, type Abortable, type Clock } from "@holdfast/runtime";
import { Agent, request, type Dispatcher } from "undici";

/** Why a call brought no answer that could be used. Normal trouble, so it is data. */
export type ClientTrouble =
  /** No connection, or one that broke. `sent`: ComfyUI may have got the request all the same. */
  | {
      readonly kind: "unreachable";
      /** The system's code: `ECONNREFUSED`, `ECONNRESET`, `UND_ERR_SOCKET`, … */
      readonly code: string;
      readonly message: string;
      readonly sent: boolean;
    }
  /** Nothing came in time; it may have been sent, and may still be done. */
  | { readonly kind: "timeout"; readonly afterMs: number }
  /** An answer, but not the one hoped for. `body` is cut to {@link MAX_KEPT_BODY} characters. */
  | { readonly kind: "http"; readonly status: number; readonly body: string }
  /** A 200 that could not be read: a proxy's page, or larger than allowed. */
  | { readonly kind: "malformed"; readonly message: string };

/** A whole answer of any status. */
export interface Answer {
  readonly kind: "answer";
  readonly status: number;
  readonly body: string;
}

/** An answer whose body is still to be read. */
export interface OpenAnswer {
  readonly kind: "open";
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly body: Dispatcher.ResponseData["body"];
}

/** One request to ComfyUI. */
export interface Call {
  readonly method: "GET" | "POST";
  /** With query, below the base URL: `/queue`. */
  readonly path: string;
  readonly body?: string | AsyncIterable<Uint8Array>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly maxBodyBytes: number;
  readonly signal: Abortable | undefined;
}

/** Sends requests to one ComfyUI. */
export interface HttpPort {
  /** Reads the whole answer; rejects only when the caller's signal is aborted. */
  call(call: Call): Promise<Answer | ClientTrouble>;
  /**
   * Resolves with the headers; the caller reads or destroys the body, whose size is its own matter.
   * An abort after that destroys the body.
   */
  open(call: Call): Promise<OpenAnswer | ClientTrouble>;
  /** Ends the connections that this port made; those of a given dispatcher stay. */
  close(): Promise<void>;
}

/** How much of an unexpected body is kept as evidence. */
export const MAX_KEPT_BODY = 8_192;

/** Codes that mean: no byte of the request has reached anybody. */
const NOT_SENT: ReadonlySet<string> = new Set([
  "EAI_AGAIN",
  "ECONNREFUSED",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "EINVAL",
  "ENETUNREACH",
  "ENOTFOUND",
  "UND_ERR_CONNECT_TIMEOUT",
]);

/**
 * ComfyUI closes connections that are idle for 75 s (aiohttp); ours go first, so that a POST never meets
 * a dying one. Longer than the pause between two looks, each of which would else connect anew.
 */
const KEEP_ALIVE_MS = 20_000;

/**
 * A port over undici: few connections, kept alive, one request at a time on each (a pipelined POST
 * behind a slow one could not be told from a lost one). It never repeats a request by itself.
 */
export function createHttpPort(options: {
  readonly baseUrl: string;
  readonly clock: Clock;
  readonly connections: number;
  readonly connectTimeoutMs: number;
  readonly bodyIdleMs: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly dispatcher: Dispatcher | undefined;
}): HttpPort {
  // Throws here, at the start, when it is no URL at all.
  const { origin, pathname } = new URL(options.baseUrl);
  const dispatcher = options.dispatcher ?? createDispatcher(options);
  const prefix = pathname.replace(/\/+$/, "");
  const baseUrl = origin + prefix;
  const target = { ...options, dispatcher, origin, prefix };

  const send = async (call: Call, abort: AbortController): Promise<OpenAnswer> => {
    const response = await request(`${baseUrl}${call.path}`, {
      method: call.method,
      headers: { ...options.headers, ...call.headers },
      body: bodyOf(call),
      signal: abort.signal,
      // Our own clock decides about the headers; 0 turns undici's limit off.
      headersTimeout: 0,
      bodyTimeout: options.bodyIdleMs,
      dispatcher,
    });
    const { statusCode: status, headers, body } = response;
    return { kind: "open", status, headers, body };
  };

  return {
    call: (call) => exchange(call, target),
    open: async (call) => {
      const answer = await withDeadline(options.clock, call, (abort) => send(call, abort));
      if (answer.kind === "open") abortWith(call.signal, answer.body);
      return answer;
    },
    close: async () => {
      if (options.dispatcher === undefined) await dispatcher.destroy();
    },
  };
}

function createDispatcher(options: {
  readonly connections: number;
  readonly connectTimeoutMs: number;
}): Agent {
  return new Agent({
    connections: options.connections,
    pipelining: 1,
    keepAliveTimeout: KEEP_ALIVE_MS,
    keepAliveMaxTimeout: KEEP_ALIVE_MS,
    connect: { timeout: options.connectTimeoutMs },
  });
}

interface Target {
  readonly clock: Clock;
  readonly bodyIdleMs: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly dispatcher: Dispatcher;
  readonly origin: string;
  /** Path below which ComfyUI answers; empty for the root. */
  readonly prefix: string;
}

/**
 * One exchange whose answer is read whole, under a deadline of the injected clock and the caller's
 * signal. Handed straight to the dispatcher: the streams and signals of undici's `request` cost more
 * CPU than the rest of a small call, and there are four calls a prompt.
 */
function exchange(call: Call, target: Target): Promise<Answer | ClientTrouble> {
  const { signal, maxBodyBytes } = call;
  return new Promise((resolve, reject) => {
    if (signal !== undefined && isAborted(signal)) {
      reject(abortReason(signal));
      return;
    }
    const timer = new AbortController();
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    let status = 0;
    let isOver = false;
    let controller: Dispatcher.DispatchController | undefined;
    const end = (settle: () => void): void => {
      if (isOver) return;
      isOver = true;
      timer.abort(ENDED);
      signal?.removeEventListener("abort", onAbort);
      settle();
    };
    const cut = (settle: () => void): void => {
      end(settle);
      // While it waits for a connection there is nothing to cut: it is at its start.
      controller?.abort(CUT);
    };
    const onAbort = (): void => {
      if (signal !== undefined) cut(() => reject(abortReason(signal)));
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    target.clock.sleep(call.timeoutMs, timer.signal).then(
      () => cut(() => resolve({ kind: "timeout", afterMs: call.timeoutMs })),
      // The exchange ended first.
      () => undefined,
    );
    target.dispatcher.dispatch(
      {
        origin: target.origin,
        path: target.prefix + call.path,
        method: call.method,
        headers: { ...target.headers, ...call.headers },
        body: bodyOf(call),
        // Our own clock decides about the headers; 0 turns undici's limit off.
        headersTimeout: 0,
        bodyTimeout: target.bodyIdleMs,
      },
      {
        onRequestStart(started) {
          controller = started;
          if (isOver) started.abort(CUT);
        },
        onResponseStart(_, statusCode) {
          status = statusCode;
        },
        onResponseData(_, chunk) {
          sizeBytes += chunk.length;
          if (sizeBytes <= maxBodyBytes) chunks.push(chunk);
          else {
            const message = `answer larger than ${maxBodyBytes} bytes`;
            cut(() => resolve({ kind: "malformed", message }));
          }
        },
        onResponseEnd() {
          const body = Buffer.concat(chunks, sizeBytes).toString("utf8");
          end(() => resolve({ kind: "answer", status, body }));
        },
        onResponseError(_, error) {
          end(() => resolve(toTrouble(error)));
        },
      },
    );
  });
}

function bodyOf({ body }: Call): string | Readable | null {
  if (body === undefined || typeof body === "string") return body ?? null;
  return Readable.from(body, { objectMode: false });
}

/** Reasons of our own signals, made once: an error for each call costs more than the rest of it. */
const ENDED = new Error("the exchange has ended");
const CUT = new Error("the exchange was cut off");

/** Runs one exchange under a deadline of the injected clock and under the caller's signal. */
async function withDeadline<T>(
  clock: Clock,
  call: Call,
  run: (abort: AbortController) => Promise<T>,
): Promise<T | ClientTrouble> {
  const { signal } = call;
  if (signal !== undefined && isAborted(signal)) throw abortReason(signal);
  const abort = new AbortController();
  const timer = new AbortController();
  let timedOut = false;
  const onAbort = (): void => abort.abort(CUT);
  signal?.addEventListener("abort", onAbort, { once: true });
  clock.sleep(call.timeoutMs, timer.signal).then(
    () => {
      timedOut = true;
      abort.abort(CUT);
    },
    // The exchange ended first.
    () => undefined,
  );
  try {
    return await run(abort);
  } catch (error) {
    if (signal !== undefined && isAborted(signal)) throw abortReason(signal);
    return timedOut ? { kind: "timeout", afterMs: call.timeoutMs } : toTrouble(error);
  } finally {
    timer.abort(ENDED);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Lets the caller's signal end a body that outlives its call. */
function abortWith(signal: Abortable | undefined, body: OpenAnswer["body"]): void {
  if (signal === undefined) return;
  const onAbort = (): void => {
    body.destroy(new Error("aborted", { cause: abortReason(signal) }));
  };
  signal.addEventListener("abort", onAbort, { once: true });
  body.once("close", () => signal.removeEventListener("abort", onAbort));
}

/** A call, so that the compiler does not take an earlier look for the state after a wait. */
function isAborted(signal: Abortable): boolean {
  return signal.aborted;
}

/** What a failed exchange means; codes are looked for in causes and in the parts of an aggregate. */
function toTrouble(error: unknown): ClientTrouble {
  const code = codeOf(error) ?? "UNKNOWN";
  const message = error instanceof Error && error.message !== "" ? error.message : code;
  return { kind: "unreachable", code, message, sent: !NOT_SENT.has(code) };
}

function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ("code" in error && typeof error.code === "string") return error.code;
  if (error instanceof AggregateError) return codeOf(error.errors[0]);
  return codeOf(error.cause);
}

/** The body as text; undefined when it has more bytes than allowed. */
export async function readText(
  body: Dispatcher.ResponseData["body"],
  maxBytes: number,
): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    const bytes = chunk as Buffer;
    size += bytes.length;
    // Leaving the loop destroys the body, and with it the connection.
    if (size > maxBytes) return undefined;
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString("utf8");
}
