/**
 * Calls to addresses that a caller named, which must not reach into our own network (SSRF).
 *
 * I1 Every address of a name is judged, and the connection goes to one of the judged ones: the name
 *    is looked up once, inside the connection, so it cannot point elsewhere afterwards (rebinding).
 * I2 A redirect is a new URL and is judged like the first.
 * I3 Size, time and redirects are bounded.
 */
import type { LookupAddress } from "node:dns";
import { lookup as dnsLookup } from "node:dns/promises";
import { isIP, type LookupFunction } from "node:net";
import type { Readable } from "node:stream";
import { callbackify } from "node:util";
import { HoldfastError } from "@holdfast/contract";
import type { Abortable, Clock } from "@holdfast/runtime";
import { Agent, request } from "undici";
import { decideAddress, decideUrl, urlHost, type UrlDecision, type UrlRules } from "./url-rules.ts";

/** What came of a call. */
export type FetchOutcome =
  | {
      readonly kind: "answered";
      readonly status: number;
      readonly headers: Readonly<Record<string, string | string[] | undefined>>;
      /** The body; reading over the limit throws `file_too_large`, a cut one `url_unreachable`. */
      readonly body: AsyncIterable<Uint8Array>;
      /** Lets the connection go when the body is not wanted (any more). */
      readonly discard: () => void;
    }
  | { readonly kind: "forbidden"; readonly reason: string }
  | { readonly kind: "unreachable"; readonly reason: string };

/** How to call. */
export interface FetchOptions {
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** For everything, the body's last byte included. */
  readonly timeoutMs: number;
  readonly maxBytes: number;
  readonly maxRedirects: number;
  readonly signal?: AbortSignal;
}

/** Looks names up; the platform's unless a test brings its own. */
export type ResolveName = (host: string) => Promise<readonly LookupAddress[]>;

/** Calls URLs that callers name; see the header. */
export interface GuardedFetch {
  /**
   * Judges a URL before anything is called. A name that cannot be looked up now is `allowed`: it is
   * judged again when it is called.
   */
  check(url: string): Promise<UrlDecision>;
  fetch(url: string, options: FetchOptions): Promise<FetchOutcome>;
  close(): Promise<void>;
}

/** How to make a {@link GuardedFetch}. */
export interface GuardedFetchOptions {
  readonly clock: Clock;
  readonly rules: UrlRules;
  readonly resolve?: ResolveName;
}

const CONNECT_TIMEOUT_MS = 10_000;
/** Most addresses of one name that are judged and tried. */
const MAX_ADDRESSES = 32;
const FORBIDDEN_CODE = "HOLDFAST_FORBIDDEN_ADDRESS";
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

const systemResolve: ResolveName = (host) => dnsLookup(host, { all: true });

/** Makes a guarded fetch with connections of its own. */
export function createGuardedFetch(options: GuardedFetchOptions): GuardedFetch {
  const { clock, rules } = options;
  const resolve = options.resolve ?? systemResolve;
  const agent = new Agent({
    connect: { lookup: guardedLookup(resolve, rules), timeout: CONNECT_TIMEOUT_MS },
    // The deadline of each call rules; undici's own timers would cut long downloads.
    headersTimeout: 0,
    bodyTimeout: 0,
    connections: 64,
    pipelining: 1,
  });

  const follow = async (
    first: string,
    how: FetchOptions,
    deadline: Deadline,
  ): Promise<FetchOutcome> => {
    let url = first;
    for (let hops = 0; ; hops += 1) {
      const decision = decideUrl(url, rules);
      if (decision.kind === "forbidden") return decision;
      const answer = await request(url, {
        dispatcher: agent,
        method: how.method ?? "GET",
        headers: { "user-agent": "holdfast", ...how.headers },
        signal: deadline.signal,
        ...(how.body === undefined ? {} : { body: how.body }),
      });
      const next = redirectTarget(answer.statusCode, answer.headers["location"], url);
      if (next === undefined || how.maxRedirects === 0) {
        return {
          kind: "answered",
          status: answer.statusCode,
          headers: answer.headers,
          body: bounded(answer.body, how.maxBytes, deadline),
          discard: () => {
            deadline.end();
            answer.body.on("error", () => undefined).destroy();
          },
        };
      }
      answer.body.on("error", () => undefined).destroy();
      if (hops >= how.maxRedirects) {
        return { kind: "unreachable", reason: `more than ${how.maxRedirects} redirects` };
      }
      url = next;
    }
  };

  return {
    async check(text) {
      const decision = decideUrl(text, rules);
      if (decision.kind === "forbidden") return decision;
      const host = urlHost(new URL(text));
      if (isIP(host) !== 0 || rules.hosts.has(host)) return decision;
      let addresses;
      try {
        addresses = await resolve(host);
      } catch {
        return decision; // A name server that is down must not refuse what may be right.
      }
      return judgeAll(addresses, host, rules) ?? decision;
    },
    async fetch(url, how) {
      const deadline = startDeadline(clock, how.timeoutMs, how.signal);
      try {
        const outcome = await follow(url, how, deadline);
        if (outcome.kind !== "answered") deadline.end();
        return outcome;
      } catch (error) {
        deadline.end();
        if (how.signal?.aborted === true) throw how.signal.reason;
        if (isForbidden(error)) return { kind: "forbidden", reason: error.message };
        return { kind: "unreachable", reason: unreachableReason(error, how.timeoutMs, deadline) };
      }
    },
    close: () => agent.destroy(),
  };
}

/** The lookup of a connection: judges every address of the name, and gives only judged ones (I1). */
function guardedLookup(resolve: ResolveName, rules: UrlRules): LookupFunction {
  const judged = async (hostname: string): Promise<LookupAddress[]> => {
    const host = hostname.replace(/\.$/, "");
    const addresses = (await resolve(hostname)).slice(0, MAX_ADDRESSES);
    if (addresses.length === 0) throw new Error(`${hostname} has no address`);
    const refused = rules.hosts.has(host) ? undefined : judgeAll(addresses, host, rules);
    if (refused === undefined) return addresses;
    throw Object.assign(new Error(refused.reason), { code: FORBIDDEN_CODE });
  };
  const look = callbackify(judged);
  return (hostname, lookupOptions, callback) => {
    look(hostname, (error, addresses) => {
      const first = addresses?.[0];
      if (error !== null || first === undefined) callback(error, "");
      else if (lookupOptions.all === true) callback(null, addresses);
      else callback(null, first.address, first.family);
    });
  };
}

/** One private address among many public ones is enough to refuse: which is called is chance. */
function judgeAll(
  addresses: readonly { readonly address: string }[],
  host: string,
  rules: UrlRules,
): Extract<UrlDecision, { kind: "forbidden" }> | undefined {
  for (const { address } of addresses) {
    const decision = decideAddress(address, rules);
    if (decision.kind === "forbidden") {
      return { kind: "forbidden", reason: `${host}: ${decision.reason}` };
    }
  }
  return undefined;
}

function redirectTarget(
  status: number,
  location: string | string[] | undefined,
  from: string,
): string | undefined {
  if (!REDIRECTS.has(status) || typeof location !== "string") return undefined;
  return URL.canParse(location, from) ? new URL(location, from).href : undefined;
}

interface Deadline {
  readonly signal: AbortSignal;
  readonly isOver: () => boolean;
  /** Ends the waiting; safe to call twice. */
  end(): void;
}

function startDeadline(clock: Clock, timeoutMs: number, outer: AbortSignal | undefined): Deadline {
  const ended = new AbortController();
  const over = new AbortController();
  const timer: Abortable = ended.signal;
  void clock.sleep(timeoutMs, timer).then(
    () => over.abort(new Error("timed out")),
    () => undefined,
  );
  return {
    signal: outer === undefined ? over.signal : AbortSignal.any([over.signal, outer]),
    isOver: () => over.signal.aborted,
    end: () => ended.abort(),
  };
}

async function* bounded(
  body: Readable,
  maxBytes: number,
  deadline: Deadline,
): AsyncGenerator<Uint8Array, void, void> {
  let size = 0;
  try {
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength;
      if (size > maxBytes) {
        throw new HoldfastError("file_too_large", `the answer is larger than ${maxBytes} bytes`);
      }
      yield chunk;
    }
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    const reason = deadline.isOver() ? "the answer took too long" : "the answer was cut off";
    throw new HoldfastError("url_unreachable", reason, { cause: error });
  } finally {
    deadline.end();
    body.on("error", () => undefined).destroy();
  }
}

function isForbidden(error: unknown): error is Error {
  return error instanceof Error && (error as { code?: unknown }).code === FORBIDDEN_CODE;
}

/** Words for a person; never the URL itself, which may carry a secret. */
function unreachableReason(error: unknown, timeoutMs: number, deadline: Deadline): string {
  if (deadline.isOver()) return `no answer within ${Math.round(timeoutMs / 1000)} s`;
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return "the host name was not found";
  if (code === "ECONNREFUSED") return "the connection was refused";
  if (code === "UND_ERR_SOCKET" || code === "ECONNRESET") return "the connection was cut";
  if (code === "UND_ERR_CONNECT_TIMEOUT") return "no connection within the time limit";
  if (error instanceof AggregateError && error.errors[0] !== undefined) {
    return unreachableReason(error.errors[0], timeoutMs, deadline);
  }
  return typeof message === "string" && message !== "" ? message.slice(0, 200) : "no connection";
}
