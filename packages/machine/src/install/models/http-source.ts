import { Agent, request, type Dispatcher } from "undici";
import { statusFailure } from "./answer-status.ts";
import { downloadFailure, type DownloadFailure } from "./download-failure.ts";
import type { Asked, DownloadSource, Opened, Probed } from "./download-source.ts";
import { openFileUrl } from "./file-source.ts";
import { authFor, decideHop, isRedirect, shownUrl, type HostAuth } from "./request-route.ts";
import { parseContentRange, parseLength, type AnswerFacts } from "./resume-plan.ts";
import { readSecret } from "./secret-file.ts";

/** Settings of {@link createDownloadSource}. */
export interface DownloadSourceOptions {
  readonly auth: readonly HostAuth[];
  /** Instead of connections of its own: through a proxy, for instance. Whoever gives it closes it. */
  readonly dispatcher?: Dispatcher;
}

const CONNECT_TIMEOUT_MS = 30_000;
/** Most of a redirect's body that is read, so that its connection can be used again. */
const REDIRECT_BODY_MAX = 64 * 1024;
/** Errors of certificates: no other try ends them. */
const CERTIFICATE = /^(?:CERT_|ERR_TLS_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/;

type Method = "GET" | "HEAD";
type Answer = { readonly kind: "answered"; readonly response: Dispatcher.ResponseData } & Sent;
interface Sent {
  readonly url: URL;
  readonly tokenFile: string | null;
}
type Sending = Answer | { readonly kind: "failed"; readonly failure: DownloadFailure };

/** Makes a source for `http://`, `https://` and `file://`. Redirects are followed by rules of its own. */
export function createDownloadSource(options: DownloadSourceOptions): DownloadSource {
  const own =
    options.dispatcher === undefined
      ? new Agent({
          connect: { timeout: CONNECT_TIMEOUT_MS },
          // Whoever downloads watches for stalls; a whole download may take hours.
          headersTimeout: 0,
          bodyTimeout: 0,
          pipelining: 1,
        })
      : undefined;
  const dispatcher = options.dispatcher ?? own;
  const { auth } = options;

  const send = async (
    method: Method,
    first: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Sending> => {
    let url = first;
    let hasSentSecret = false;
    for (let hops = 0; ; hops += 1) {
      const secret = await secretFor(url, auth);
      if (secret.kind === "failed") return secret;
      hasSentSecret ||= secret.header !== null;
      let response: Dispatcher.ResponseData;
      try {
        response = await request(bare(url), {
          method,
          headers: { ...headers, ...secret.header },
          signal,
          ...(dispatcher === undefined ? {} : { dispatcher }),
        });
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        return { kind: "failed", failure: connectionFailure(error, url) };
      }
      if (!isRedirect(response.statusCode)) {
        return { kind: "answered", response, url, tokenFile: secret.tokenFile };
      }
      await giveUp(response);
      const location = toFacts(response).headers["location"];
      const next = decideHop({ url, hops, hasSentSecret }, location, auth);
      if (next.kind === "failed") return next;
      url = next.url;
    }
  };

  return {
    async open(text, asked) {
      const parsed = parseUrl(text);
      if (parsed.kind === "failed") return parsed;
      if (parsed.url.protocol === "file:") return await openFileUrl(parsed.url, asked);
      const sent = await send("GET", parsed.url, rangeHeaders(asked.plan), asked.signal);
      return sent.kind === "failed" ? sent : toOpened(sent);
    },
    probe: (text, licence, signal) => probe(text, licence, signal, send),
    close: async () => {
      await own?.destroy();
    },
  };
}

async function probe(
  text: string,
  licence: string | null,
  signal: AbortSignal,
  send: (
    method: Method,
    url: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ) => Promise<Sending>,
): Promise<Probed> {
  const parsed = parseUrl(text);
  if (parsed.kind === "failed") return { sizeBytes: null, failure: parsed.failure };
  if (parsed.url.protocol === "file:") {
    return await toProbed(
      await openFileUrl(parsed.url, { plan: { kind: "whole" }, signal }),
      licence,
    );
  }
  const identity = { "user-agent": "holdfast", "accept-encoding": "identity" };
  const head = await send("HEAD", parsed.url, identity, signal);
  if (head.kind === "answered") {
    const told = await toProbed(toOpened(head), licence);
    if (told.failure === null && told.sizeBytes !== null) return told;
    // Signed links are often signed for GET alone, and some servers know no HEAD.
  } else if (!head.failure.isTransient) {
    return { sizeBytes: null, failure: head.failure };
  }
  const first = await send("GET", parsed.url, { ...identity, range: "bytes=0-0" }, signal);
  return await toProbed(first.kind === "failed" ? first : toOpened(first), licence);
}

async function toProbed(opened: Opened, licence: string | null): Promise<Probed> {
  if (opened.kind === "failed") return { sizeBytes: null, failure: opened.failure };
  await opened.cancel();
  const { headers, status } = opened;
  const total = parseContentRange(headers["content-range"])?.total ?? null;
  // An empty file has no first byte: that is its 416.
  if (status === 416) return { sizeBytes: total, failure: null };
  const failure = statusFailure(opened, { ...opened.asked, licence });
  const sizeBytes = status === 206 ? total : parseLength(headers["content-length"]);
  return { sizeBytes: failure === null ? sizeBytes : null, failure };
}

function parseUrl(
  text: string,
):
  | { readonly kind: "url"; readonly url: URL }
  | { readonly kind: "failed"; readonly failure: DownloadFailure } {
  if (URL.canParse(text)) {
    const url = new URL(text);
    if (["http:", "https:", "file:"].includes(url.protocol)) return { kind: "url", url };
  }
  const advice = "Name an http://, https:// or file:/// URL in machine.yaml.";
  // Not the text itself: it may hold a secret.
  return { kind: "failed", failure: downloadFailure("bad_url", "the URL cannot be read", advice) };
}

function rangeHeaders(plan: Asked["plan"]): Record<string, string> {
  const headers = { "user-agent": "holdfast", "accept-encoding": "identity" };
  if (plan.kind === "whole") return headers;
  const range = { ...headers, range: `bytes=${plan.from}-` };
  return plan.ifRange === null ? range : { ...range, "if-range": plan.ifRange };
}

/** The URL without a user in it: that goes into a header. */
function bare(url: URL): URL {
  if (url.username === "" && url.password === "") return url;
  const plain = new URL(url);
  plain.username = "";
  plain.password = "";
  return plain;
}

type Secret =
  | {
      readonly kind: "ready";
      readonly header: Readonly<Record<string, string>> | null;
      readonly tokenFile: string | null;
    }
  | { readonly kind: "failed"; readonly failure: DownloadFailure };

async function secretFor(url: URL, auth: readonly HostAuth[]): Promise<Secret> {
  const entry = authFor(url, auth);
  if (entry !== null) {
    const read = await readSecret(entry.tokenFile);
    if (read.kind === "failed") return read;
    const value = entry.scheme === "" ? read.text : `${entry.scheme} ${read.text}`;
    const header = { [entry.header.toLowerCase()]: value };
    return { kind: "ready", header, tokenFile: entry.tokenFile };
  }
  if (url.username === "" && url.password === "") {
    return { kind: "ready", header: null, tokenFile: null };
  }
  const pair = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
  const header = { authorization: `Basic ${Buffer.from(pair).toString("base64")}` };
  return { kind: "ready", header, tokenFile: null };
}

function toFacts(response: Dispatcher.ResponseData): AnswerFacts {
  const headers = Object.fromEntries(
    Object.entries(response.headers).map(([name, value]) => [
      name.toLowerCase(),
      Array.isArray(value) ? value[0] : value,
    ]),
  );
  return { status: response.statusCode, headers };
}

function toOpened({ response, url, tokenFile }: Answer): Opened {
  const { body } = response;
  return {
    kind: "answered",
    ...toFacts(response),
    body,
    cancel: async () => {
      // Its end is an error for whoever still listens, and nobody does.
      body.on("error", () => undefined).destroy();
      await Promise.resolve();
    },
    asked: { url: shownUrl(url), host: url.host, tokenFile },
  };
}

async function giveUp(response: Dispatcher.ResponseData): Promise<void> {
  await response.body.dump({ limit: REDIRECT_BODY_MAX }).catch(() => undefined);
}

/** Why there is no answer, or why it broke off. */
export function connectionFailure(error: unknown, url: URL): DownloadFailure {
  const { code, message } = error as NodeJS.ErrnoException;
  const text = code === undefined ? message : `${message} (${code})`;
  if (code !== undefined && CERTIFICATE.test(code)) {
    const advice = `See to the certificate of ${url.host}, or let Node know its authority (NODE_EXTRA_CA_CERTS).`;
    return downloadFailure("bad_answer", `${url.host} cannot be trusted: ${text}`, advice);
  }
  return downloadFailure(
    "unreachable",
    `fetching ${shownUrl(url)} failed: ${text}`,
    `Look whether this machine reaches ${url.host || "that file"}; what was fetched is kept.`,
  );
}
