import { setMaxListeners } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { HoldfastError, parseJsonKeepingIntegers } from "@holdfast/contract";
import type { Clock, IdSource } from "@holdfast/runtime";
import { isLoopbackRequest } from "@holdfast/runtime/host";
import fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type HTTPMethods,
  type RawServerDefault,
} from "fastify";
import {
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from "fastify-type-provider-zod";
import type { Log } from "../log.ts";
import { watchConnections } from "./connections.ts";
import { errorBody, errorStatus, toHoldfastError } from "./http-error.ts";
import { createRouteTable, type RouteTable } from "./route-table.ts";

/** A Fastify instance whose routes are typed by their zod schemas. Features register on this. */
export type HttpApp = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** How to make an HTTP server. */
export interface HttpServerOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly ids: IdSource;
  /** Largest body in bytes; a route may have its own (`bodyLimit`). */
  readonly bodyLimitBytes: number;
  /**
   * Answer only requests that name this machine's loopback as host and origin. For a server without
   * keys: otherwise any web page a person has open could drive it (DNS rebinding, cross-site posts).
   */
  readonly loopbackOnly?: boolean;
  /** Told of each answer, for metrics. `route` is the pattern, never the path. */
  readonly onAnswer?: (answer: HttpAnswer) => void;
  /** What an error's body has beside `error`, by path: for callers that look for it. */
  readonly errorFields?: (path: string) => Readonly<Record<string, unknown>>;
}

/** What metrics want to know of an answer. */
export interface HttpAnswer {
  readonly method: string;
  readonly route: string;
  readonly status: number;
  readonly seconds: number;
}

/** A server and what belongs to its life. */
export interface HttpServer {
  readonly app: HttpApp;
  /** Aborted when the server begins to close: long polls and streams end on it. */
  readonly closing: AbortSignal;
  /** Binds. Resolves to the port, which matters when 0 was asked for. */
  listen(address: { readonly host: string; readonly port: number }): Promise<number>;
  /** Takes no more requests, waits for those under way (bounded), and ends. Safe to call twice. */
  close(): Promise<void>;
}

/** A whole request, body included, must arrive in this time. */
const REQUEST_TIMEOUT_MS = 15 * 60_000;
const HEADERS_TIMEOUT_MS = 30_000;
/** Above common proxies' idle time, so that they, not we, end idle connections. */
const KEEP_ALIVE_TIMEOUT_MS = 75_000;
/** Requests under way get this long when the server closes. */
const CLOSE_LIMIT_MS = 10_000;
const MAX_PARAMETER_LENGTH = 512;
/** A refused body is read and dropped up to this size, so that the caller gets to read the answer. */
const MAX_DROPPED_BYTES = 1024 * 1024 * 1024;
const REQUEST_ID = /^[A-Za-z0-9_.-]{1,64}$/;
const PROTOTYPE_KEY = /"__proto__"\s*:/;

/** Makes the server: errors in one shape, security headers, request ids, limits. Does not listen. */
export function buildHttpServer(options: HttpServerOptions): HttpServer {
  const { clock } = options;
  const closing = new AbortController();
  // Every poll and stream that is held open listens to it; each stops listening when it ends.
  setMaxListeners(0, closing.signal);
  const base = fastify({
    bodyLimit: options.bodyLimitBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    forceCloseConnections: "idle",
    return503OnClosing: false,
    routerOptions: { maxParamLength: MAX_PARAMETER_LENGTH },
    genReqId: (request) => requestId(request, options.ids),
    frameworkErrors: (error, request, reply) => void sendError(error, request, reply, options),
    clientErrorHandler: answerBrokenRequest,
  });
  const connections = watchConnections(base.server);
  base.server.headersTimeout = HEADERS_TIMEOUT_MS;
  base.setValidatorCompiler(validatorCompiler);
  base.setSerializerCompiler(serializerCompiler);
  const app = base.withTypeProvider<ZodTypeProvider>();

  parseJsonBodies(app);
  const routes = createRouteTable((method, url) =>
    app.hasRoute({ method: method as HTTPMethods, url }),
  );
  app.addHook("onRoute", ({ url }) => routes.add(url));
  app.setErrorHandler((error, request, reply) => sendError(error, request, reply, options));
  // For a route that finds nothing of its own, such as a folder of files: see `refuseUnknown`.
  app.setNotFoundHandler((request, reply) => sendError(notFound(request), request, reply, options));
  addRequestGuards(app, options, closing.signal, routes);
  addAnswerHooks(app, options);

  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    closing.abort(new HoldfastError("shutting_down", "this replica is stopping"));
    const done = new AbortController();
    const limit = clock.sleep(CLOSE_LIMIT_MS, done.signal).then(
      () => app.server.closeAllConnections(),
      () => undefined,
    );
    connections.endIdle();
    await app.close();
    done.abort();
    await limit;
  };
  return {
    app,
    closing: closing.signal,
    async listen({ host, port }) {
      await app.listen({ host, port });
      const address = app.server.address();
      return typeof address === "object" && address !== null ? address.port : port;
    },
    close: () => (closed ??= close()),
  };
}

function requestId(request: IncomingMessage, ids: IdSource): string {
  const given = request.headers["x-request-id"];
  return typeof given === "string" && REQUEST_ID.test(given) ? given : ids.next("req");
}

function parseJsonBodies(app: HttpApp): void {
  app.removeContentTypeParser(["application/json", "text/plain"]);
  app.addContentTypeParser("application/json", { parseAs: "string" }, (_request, body, done) => {
    const text = body as string;
    if (text === "") {
      done(null, undefined); // A route that needs a body says so by its schema.
      return;
    }
    try {
      const value = parseJsonKeepingIntegers(text);
      if (PROTOTYPE_KEY.test(text)) throw new SyntaxError("a key is named __proto__");
      done(null, value);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      done(new HoldfastError("invalid_json", `the body is not JSON: ${why}`, { cause: error }));
    }
  });
}

function addRequestGuards(
  app: HttpApp,
  options: HttpServerOptions,
  closing: AbortSignal,
  routes: RouteTable,
): void {
  app.addHook("onRequest", (request, reply, done) => {
    void reply.header("x-request-id", request.id);
    if (closing.aborted) {
      void reply.header("connection", "close");
      done(
        new HoldfastError("shutting_down", "this replica is stopping", { retryAfterSeconds: 2 }),
      );
      return;
    }
    if (options.loopbackOnly === true && !isLoopbackRequest(request.headers)) {
      done(
        new HoldfastError(
          "forbidden",
          "without API keys only requests to and from this machine are answered: make a key, or use http://127.0.0.1",
        ),
      );
      return;
    }
    // Before the body is looked at: what is wrong with it does not matter where no route takes it.
    if (request.is404) {
      refuseUnknown(request, reply, routes, options);
      return;
    }
    // Refused before a byte of it is read; Node drops the rest as it arrives, without parsing it.
    const limit = request.routeOptions.bodyLimit ?? options.bodyLimitBytes;
    const announced = Number(request.headers["content-length"] ?? 0);
    if (announced > limit) {
      if (announced > MAX_DROPPED_BYTES) void reply.header("connection", "close");
      done(
        new HoldfastError("body_too_large", `the body may have at most ${limit} bytes`, {
          details: { limitBytes: limit, sizeBytes: announced },
        }),
      );
      return;
    }
    done();
  });
}

const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
};

/** Headers that say: this answer is nobody else's. A page or a file may set its own before. */
export function securityHeaders(): Readonly<Record<string, string>> {
  return SECURITY_HEADERS;
}

function addAnswerHooks(app: HttpApp, options: HttpServerOptions): void {
  const { log } = options;
  app.addHook("onSend", (_request, reply, payload, done) => {
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
      if (!reply.hasHeader(name)) void reply.header(name, value);
    }
    done(null, payload);
  });
  app.addHook("onResponse", (request, reply, done) => {
    const answer: HttpAnswer = {
      method: request.method,
      route: request.routeOptions.url ?? "unknown",
      status: reply.statusCode,
      seconds: reply.elapsedTime / 1000,
    };
    options.onAnswer?.(answer);
    const durationMs = Math.round(reply.elapsedTime);
    const { method, route, status } = answer;
    log.debug({ requestId: request.id, method, route, status, durationMs }, "request answered");
    done();
  });
}

function sendError(
  thrown: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  { log, errorFields }: Pick<HttpServerOptions, "log" | "errorFields">,
): FastifyReply {
  const error = toHoldfastError(thrown);
  const status = errorStatus(error);
  if (error.code === "internal") {
    const route = request.routeOptions?.url ?? "unknown";
    log.error({ requestId: request.id, route, err: error.cause ?? error }, "request failed");
  } else if (status >= 500) {
    log.warn({ requestId: request.id, code: error.code, err: error.cause }, "request refused");
  }
  if (error.retryAfterSeconds !== undefined) {
    void reply.header("retry-after", String(Math.max(1, Math.ceil(error.retryAfterSeconds))));
  }
  // Also here: a broken URL is answered before any hook runs.
  void reply.headers({ ...SECURITY_HEADERS, "x-request-id": request.id });
  // A serializer of the route would hold an error to the shape of a success.
  return reply
    .code(status)
    .header("content-type", "application/json; charset=utf-8")
    .serializer((body: unknown) => JSON.stringify(body))
    .send({ ...errorFields?.(pathOf(request)), ...errorBody(error, request.id) });
}

/**
 * Answers a request that no route takes. A path that takes other methods is told as such: 204 with
 * `Allow` for OPTIONS, else 405 with `Allow`; every other path is 404.
 */
function refuseUnknown(
  request: FastifyRequest,
  reply: FastifyReply,
  routes: RouteTable,
  options: HttpServerOptions,
): void {
  const path = pathOf(request);
  const methods = routes.methodsOf(path);
  // "GET is allowed, not GET" would help nobody, should the router be stricter than the table.
  if (methods.length === 0 || (methods.includes(request.method) && request.method !== "OPTIONS")) {
    sendError(notFound(request), request, reply, options);
    return;
  }
  void reply.header("allow", methods.join(", "));
  if (request.method === "OPTIONS") {
    void reply.code(204).send();
    return;
  }
  const message = `${path} takes ${methods.join(", ")}, not ${request.method}`;
  sendError(
    new HoldfastError("method_not_allowed", message, { details: { allowed: methods } }),
    request,
    reply,
    options,
  );
}

function notFound(request: FastifyRequest): HoldfastError {
  return new HoldfastError("not_found", `no such route: ${pathOf(request)}`);
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
  const status =
    error.code === "HPE_HEADER_OVERFLOW"
      ? "431 Request Header Fields Too Large"
      : error.code === "ERR_HTTP_REQUEST_TIMEOUT"
        ? "408 Request Timeout"
        : "400 Bad Request";
  const body = JSON.stringify({
    error: { code: "invalid_request", message: "this is not an HTTP request", requestId: "" },
  });
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
  );
}
