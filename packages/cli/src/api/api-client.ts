import type { ErrorCode } from "@holdfast/contract";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";

/** Where the server is and how to show who calls. */
export interface ServerAddress {
  /** Without a slash at the end. */
  readonly baseUrl: string;
  readonly apiKey: string | undefined;
}

/** One request. */
export interface ApiRequest {
  readonly method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is; `contentType` says what it is. */
  readonly body?: ReadableStream;
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** The server's answer, or why there is none. Both are what an operator sees on a normal day. */
export type ApiAnswer =
  | { readonly kind: "answered"; readonly response: Response }
  | {
      readonly kind: "refused";
      readonly status: number;
      readonly code: ErrorCode | undefined;
      readonly message: string;
      readonly details: unknown;
      readonly requestId: string | undefined;
      readonly retryAfterSeconds: number | undefined;
    }
  | {
      readonly kind: "unreachable";
      readonly reason: string;
      /** The request may have arrived before the connection broke. */
      readonly mayHaveArrived: boolean;
    };

/** Talks to a Holdfast server. */
export interface ApiClient {
  readonly baseUrl: string;
  /** One request; rejects only when its signal is aborted. */
  request(path: string, request?: ApiRequest): Promise<ApiAnswer>;
  /** One request whose answer is JSON; anything but success is thrown as {@link CommandFailure}. */
  json(path: string, request?: ApiRequest): Promise<unknown>;
}

/** Default address of a server on this machine. */
export const DEFAULT_SERVER_URL = "http://127.0.0.1:8328";

/**
 * The server's address from flag or environment. Throws {@link CommandFailure} when it is not one,
 * or when the key cannot be one.
 */
export function serverAddress(
  flags: { readonly url?: string | undefined; readonly apiKey?: string | undefined },
  env: Readonly<Record<string, string | undefined>>,
): ServerAddress {
  const given = flags.url ?? nonEmpty(env["HOLDFAST_URL"]) ?? DEFAULT_SERVER_URL;
  if (!URL.canParse(given) || !/^https?:$/.test(new URL(given).protocol)) {
    const name = flags.url === undefined ? "HOLDFAST_URL" : "--url";
    throw new CommandFailure(
      EXIT.refused,
      `${name}: expected an address such as ${DEFAULT_SERVER_URL}, found ${JSON.stringify(given)}`,
    );
  }
  const apiKey = (flags.apiKey ?? nonEmpty(env["HOLDFAST_API_KEY"]))?.trim();
  if (apiKey !== undefined && !/^[\x21-\x7e]*$/.test(apiKey)) {
    const name = flags.apiKey === undefined ? "HOLDFAST_API_KEY" : "--api-key";
    // Not repeated: it may be a key with something pasted to it.
    const words =
      "expected one key, such as hf_…, found a text with spaces, line ends or other signs";
    throw new CommandFailure(EXIT.refused, `${name}: ${words}`);
  }
  return { baseUrl: given.replace(/\/+$/, ""), apiKey };
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === undefined || text.trim() === "" ? undefined : text;
}

/** A client for one server. Uses the platform's `fetch`: it loads in no time, which `jobs` needs. */
export function createApiClient(address: ServerAddress): ApiClient {
  const { baseUrl, apiKey } = address;
  const request = async (path: string, options: ApiRequest = {}): Promise<ApiAnswer> => {
    const { signal } = options;
    try {
      const response = await fetch(`${baseUrl}${path}`, {
        method: options.method ?? "GET",
        headers: {
          accept: "application/json",
          ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
          ...contentType(options),
          ...options.headers,
        },
        ...bodyOf(options),
        ...(signal === undefined ? {} : { signal }),
      });
      return response.ok ? { kind: "answered", response } : await readRefusal(response);
    } catch (error) {
      if (signal?.aborted === true) throw error;
      return unreachable(error);
    }
  };
  return {
    baseUrl,
    request,
    async json(path, options) {
      const answer = await request(path, options);
      if (answer.kind !== "answered") throw failureOf(answer, baseUrl);
      try {
        return await answer.response.json();
      } catch (cause) {
        if (options?.signal?.aborted === true) throw cause;
        const message = `${baseUrl}${path} did not answer with JSON: is it a Holdfast server?`;
        throw new CommandFailure(EXIT.unavailable, message, { cause });
      }
    },
  };
}

function contentType(options: ApiRequest): Record<string, string> {
  if (options.json !== undefined) return { "content-type": "application/json" };
  return options.contentType === undefined ? {} : { "content-type": options.contentType };
}

function bodyOf(options: ApiRequest): RequestInit {
  if (options.json !== undefined) return { body: JSON.stringify(options.json) };
  if (options.body === undefined) return {};
  // A stream goes out while it is read, which fetch wants to be told.
  return { body: options.body, ...({ duplex: "half" } as RequestInit) };
}

async function readRefusal(response: Response): Promise<ApiAnswer> {
  const text = await response.text().catch(() => "");
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined; // A proxy's page, or something that is no Holdfast.
  }
  const error = fieldOf(body, "error");
  const code = fieldOf(error, "code");
  const message = fieldOf(error, "message");
  const requestId = fieldOf(error, "requestId");
  const wait = Number(response.headers.get("retry-after") ?? "");
  return {
    kind: "refused",
    status: response.status,
    code: typeof code === "string" ? (code as ErrorCode) : undefined,
    message: typeof message === "string" ? message : `answered HTTP ${response.status}`,
    details: fieldOf(error, "details"),
    requestId: typeof requestId === "string" ? requestId : undefined,
    retryAfterSeconds: wait > 0 ? wait : undefined,
  };
}

/** A field of something that came from outside; undefined when there is none. */
export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null
    ? (value as Record<string, unknown>)[name]
    : undefined;
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there",
  ENOTFOUND: "there is no such host",
  EAI_AGAIN: "the host's name cannot be looked up now",
  ECONNRESET: "the connection was cut",
  UND_ERR_SOCKET: "the connection was cut",
  EHOSTUNREACH: "the host cannot be reached",
  ETIMEDOUT: "it does not answer",
  UND_ERR_CONNECT_TIMEOUT: "it does not answer",
  UND_ERR_HEADERS_TIMEOUT: "it does not answer",
};

/** Failures that come before anything was sent. */
const NEVER_ARRIVED = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

function unreachable(error: unknown): Extract<ApiAnswer, { kind: "unreachable" }> {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  const first = cause instanceof AggregateError ? (cause.errors[0] as unknown) : cause;
  const code = fieldOf(first, "code");
  if (typeof code === "string") {
    const reason = REASONS[code] ?? code;
    return { kind: "unreachable", reason, mayHaveArrived: !NEVER_ARRIVED.has(code) };
  }
  const reason = first instanceof Error ? first.message : String(first);
  return { kind: "unreachable", reason, mayHaveArrived: false };
}

/** What the server did not do, as the end of a command. */
export function failureOf(
  answer: Exclude<ApiAnswer, { kind: "answered" }>,
  baseUrl: string,
): CommandFailure {
  if (answer.kind === "unreachable") {
    return new CommandFailure(
      EXIT.unavailable,
      `cannot reach Holdfast at ${baseUrl}: ${answer.reason}. Start it with \`holdfast up\`, or set HOLDFAST_URL.`,
    );
  }
  if (isHealthServer(answer)) {
    return new CommandFailure(
      EXIT.refused,
      `${baseUrl} is the health server of a machine: expected the address of the control plane (--url, HOLDFAST_URL; by default ${DEFAULT_SERVER_URL})`,
    );
  }
  const lines = [answer.code === undefined ? answer.message : `${answer.code}: ${answer.message}`];
  lines.push(...furtherIssues(answer.details));
  if (answer.status === 401) lines.push("Set HOLDFAST_API_KEY, or use --api-key.");
  if (answer.retryAfterSeconds !== undefined) {
    lines.push(`Try again in ${answer.retryAfterSeconds} s.`);
  }
  if (answer.status >= 500 && answer.requestId !== undefined) {
    lines.push(`The server's log has more under request ${answer.requestId}.`);
  }
  const isOurs = answer.status < 500;
  return new CommandFailure(
    isOurs ? EXIT.refused : EXIT.unavailable,
    lines.join("\n"),
    answer.code === undefined ? {} : { code: answer.code },
  );
}

/** A machine's health server lists its own routes where it has none. */
function isHealthServer({ code, details }: Extract<ApiAnswer, { kind: "refused" }>): boolean {
  const routes = fieldOf(details, "routes");
  return code === "not_found" && Array.isArray(routes) && routes.includes("/services");
}

const MAX_ISSUES_SHOWN = 10;

/** What else is wrong, where the server names several things: its message tells the first. */
function furtherIssues(details: unknown): readonly string[] {
  const issues = fieldOf(details, "issues");
  if (!Array.isArray(issues)) return [];
  const texts = issues
    .slice(1)
    .map((issue) => fieldOf(issue, "message"))
    .filter((text) => typeof text === "string");
  const left = texts.length - MAX_ISSUES_SHOWN;
  return [...texts.slice(0, MAX_ISSUES_SHOWN), ...(left > 0 ? [`… and ${left} more`] : [])];
}
