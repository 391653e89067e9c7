/** The HTTP server itself: limits, who is answered, and what is told to requests that no route takes. */
import { createServer } from "node:http";
import type { Socket } from "node:net";
import type { AgentLog } from "@holdfast/agent";
import { HoldfastError } from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";
import { isLoopbackRequest } from "@holdfast/runtime/host";
import fastify, { type FastifyInstance, type FastifyRequest } from "fastify";
import { decideAccess } from "./access-rules.ts";
import type { TokenJudge } from "./bearer-token.ts";
import { SECURITY_HEADERS, sendError } from "./error-answer.ts";

/** How to make it. */
export interface HttpAppOptions {
  readonly log: AgentLog;
  readonly ids: IdSource;
  readonly isLoopbackBind: boolean;
  readonly tokens: TokenJudge;
  readonly closing: AbortSignal;
  /** Requests that are answered by a stream. */
  readonly streams: WeakSet<FastifyRequest>;
  readonly onAnswer: (answer: {
    readonly route: string;
    readonly status: number;
    readonly seconds: number;
  }) => void;
  readonly limits?: Partial<HttpLimits>;
}

/** Bounds of what one client, and all together, may take. */
export interface HttpLimits {
  readonly connectionsMax: number;
  readonly headerMaxBytes: number;
  /** A whole request has to arrive in this time. */
  readonly requestMs: number;
  readonly keepAliveMs: number;
  /** How often requests are looked at for being late. */
  readonly lateCheckMs: number;
}

const DEFAULT_LIMITS: HttpLimits = {
  connectionsMax: 256,
  headerMaxBytes: 16 * 1024,
  requestMs: 10_000,
  keepAliveMs: 75_000,
  lateCheckMs: 2_000,
};
/** No route takes a body. */
const BODY_MAX_BYTES = 1_024;
const PARAMETER_MAX_CHARS = 256;
const REQUEST_ID = /^[A-Za-z0-9_.-]{1,64}$/;
const ALLOWED = "GET, HEAD, OPTIONS";

/** Every route there is. */
export const HEALTH_ROUTES = [
  "/health",
  "/services",
  "/services/:service/health",
  "/services/:service/logs",
  "/services/:service/transitions",
  "/ready",
  "/metrics",
] as const;
/** Answered without the token on a public address, in brief. */
export const OPEN_ROUTE = "/ready";
const PATTERNS = HEALTH_ROUTES.map(
  (route) => new RegExp(`^${route.replace(":service", "[^/]+")}/?$`),
);

/** Requests that are answered in brief. */
export type BriefRequests = WeakSet<FastifyRequest>;

/** The app, without routes, and not listening. */
export interface HttpApp {
  readonly app: FastifyInstance;
  readonly brief: BriefRequests;
}

/** Makes it. */
export function createHttpApp(options: HttpAppOptions): HttpApp {
  const { log, ids } = options;
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const brief: BriefRequests = new WeakSet();
  const app = fastify({
    bodyLimit: BODY_MAX_BYTES,
    // What is under way when we close is answered in microseconds, or is a stream that was ended.
    forceCloseConnections: true,
    return503OnClosing: false,
    routerOptions: { maxParamLength: PARAMETER_MAX_CHARS, ignoreTrailingSlash: true },
    clientErrorHandler: answerBrokenRequest,
    genReqId: ({ headers }) => {
      const given = headers["x-request-id"];
      return typeof given === "string" && REQUEST_ID.test(given) ? given : ids.next("req");
    },
    frameworkErrors: (error, request, reply) => void sendError(error, request, reply, log),
    serverFactory: (handler) => {
      const server = createServer(
        {
          maxHeaderSize: limits.headerMaxBytes,
          requestTimeout: limits.requestMs,
          headersTimeout: limits.requestMs,
          keepAliveTimeout: limits.keepAliveMs,
          connectionsCheckingInterval: limits.lateCheckMs,
        },
        handler,
      );
      server.maxConnections = limits.connectionsMax;
      return server;
    },
  });
  app.removeAllContentTypeParsers();
  app.setErrorHandler((error, request, reply) => sendError(error, request, reply, log));
  app.setNotFoundHandler((request, reply) => sendError(notFound(request), request, reply, log));
  addGuards(app, brief, options);
  addAnswerHooks(app, options);
  return { app, brief };
}

function addGuards(app: FastifyInstance, brief: BriefRequests, options: HttpAppOptions): void {
  const { tokens, isLoopbackBind, closing } = options;
  app.addHook("onRequest", async (request, reply) => {
    if (closing.aborted) {
      void reply.header("connection", "close");
      throw new HoldfastError("shutting_down", "the agent is stopping", { retryAfterSeconds: 5 });
    }
    const access = decideAccess({
      isLoopbackBind,
      isLoopbackRequest: isLoopbackRequest(request.headers),
      isOpenRoute: request.routeOptions.url === OPEN_ROUTE,
      token: await tokens.judge(request.headers.authorization),
    });
    if (access.kind === "refused") throw new HoldfastError(access.code, access.message);
    if (access.kind === "brief") brief.add(request);
    if (!request.is404) return undefined;
    if (!PATTERNS.some((pattern) => pattern.test(pathOf(request)))) throw notFound(request);
    void reply.header("allow", ALLOWED);
    if (request.method === "OPTIONS") return reply.code(204).send();
    // The path is one of ours in shape only, as with an empty name.
    if (request.method === "GET" || request.method === "HEAD") throw notFound(request);
    throw wrongMethod(request);
  });
}

function addAnswerHooks(app: FastifyInstance, options: HttpAppOptions): void {
  app.addHook("onSend", async (request, reply) => {
    void reply.headers({ ...SECURITY_HEADERS, "x-request-id": request.id });
  });
  app.addHook("onResponse", async (request, reply) => {
    // A stream lasts as long as its client wants: that says nothing of how fast we answer.
    if (options.streams.has(request)) return;
    options.onAnswer({
      route: request.routeOptions.url ?? "unknown",
      status: reply.statusCode,
      seconds: reply.elapsedTime / 1000,
    });
  });
}

function notFound(request: FastifyRequest): HoldfastError {
  return new HoldfastError(
    "not_found",
    `no such route: ${pathOf(request)}; there are ${HEALTH_ROUTES.join(", ")}`,
    { details: { routes: HEALTH_ROUTES } },
  );
}

function wrongMethod(request: FastifyRequest): HoldfastError {
  return new HoldfastError(
    "method_not_allowed",
    `${pathOf(request)} takes ${ALLOWED}, not ${request.method}: this server changes nothing`,
    { details: { allowed: ALLOWED.split(", ") } },
  );
}

function pathOf(request: FastifyRequest): string {
  return request.url.split(/[?#]/, 1)[0] ?? "/";
}

/** What arrives is not HTTP: answered on the bare socket, for there is no request to answer. */
function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, message] = BROKEN[error.code ?? ""] ?? ["400 Bad Request", "this is not HTTP"];
  const body = JSON.stringify({ error: { code: "invalid_request", message, requestId: "" } });
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
  );
}

const BROKEN: Readonly<Record<string, readonly [string, string]>> = {
  HPE_HEADER_OVERFLOW: ["431 Request Header Fields Too Large", "the headers are too large"],
  ERR_HTTP_REQUEST_TIMEOUT: ["408 Request Timeout", "the request did not arrive in time"],
};
