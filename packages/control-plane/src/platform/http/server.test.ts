import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { HoldfastError } from "@holdfast/contract";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import type { Log, LogFields } from "../log.ts";
import { SILENT_LOG } from "../log.ts";
import { createMetrics } from "../metrics.ts";
import type { ErrorBody } from "./http-error.ts";
import { DOCS_PATH, OPENAPI_PATH, registerOpenApi } from "./openapi.ts";
import { buildHttpServer, type HttpServer, type HttpServerOptions } from "./server.ts";

const servers: HttpServer[] = [];
const errors: LogFields[] = [];
const log: Log = {
  ...SILENT_LOG,
  error: (fields) => void errors.push(fields),
};
const make = (over: Partial<HttpServerOptions> = {}): HttpServer => {
  const server = buildHttpServer({
    log,
    clock: systemClock,
    ids: createIdSource(systemClock, seededRandom(1)),
    bodyLimitBytes: 1_000,
    ...over,
  });
  servers.push(server);
  return server;
};
beforeEach(() => void errors.splice(0));
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

const withThings = (over: Partial<HttpServerOptions> = {}): HttpServer => {
  const server = make(over);
  server.app.post(
    "/things/:id",
    {
      schema: {
        params: z.object({ id: z.string().regex(/^[a-z]+$/) }),
        body: z.object({ jobs: z.array(z.object({ seed: z.union([z.int(), z.string()]) })) }),
        response: { 200: z.object({ seeds: z.array(z.union([z.int(), z.string()])) }) },
      },
    },
    (request) => ({ seeds: request.body.jobs.map((job) => job.seed) }),
  );
  server.app.get("/things/:id", () => ({ ok: true }));
  server.app.get("/healthz", () => ({ status: "ok" }));
  server.app.get("/broken", () => {
    throw new Error("the secret reason");
  });
  server.app.get("/busy", () => {
    throw new HoldfastError("queue_full", "too much", {
      retryAfterSeconds: 1.2,
      details: { limit: 3 },
    });
  });
  server.app.get("/nul", () => {
    throw Object.assign(new Error("invalid byte sequence"), { code: "22021", severity: "ERROR" });
  });
  server.app.get("/nodb", () => {
    throw Object.assign(new Error("connect refused"), { code: "ECONNREFUSED" });
  });
  return server;
};
const post = (payload: string, contentType = "application/json") => ({
  method: "POST" as const,
  url: "/things/a",
  payload,
  headers: { "content-type": contentType },
});
const errorOf = (response: { json: () => unknown }): ErrorBody["error"] =>
  (response.json() as ErrorBody).error;

describe("errors have one shape", () => {
  test.each([
    ["a body that is not JSON", post("{"), 400, "invalid_json"],
    ["a key named __proto__", post('{"jobs":[{"__proto__":{}}]}'), 400, "invalid_json"],
    ["no body", { method: "POST" as const, url: "/things/a" }, 400, "invalid_request"],
    [
      "another content type",
      post("a=1", "application/x-www-form-urlencoded"),
      415,
      "unsupported_media_type",
    ],
    ["plain text", post("{}", "text/plain"), 415, "unsupported_media_type"],
    ["too large a body", post(JSON.stringify("x".repeat(2_000))), 413, "body_too_large"],
    ["an unknown path", { method: "GET" as const, url: "/nothing?x=1" }, 404, "not_found"],
    ["a wrong method", { method: "DELETE" as const, url: "/things/a" }, 405, "method_not_allowed"],
    [
      "a path that is no URL",
      { method: "GET" as const, url: "/things/%zz" },
      400,
      "invalid_request",
    ],
    ["a bug", { method: "GET" as const, url: "/broken" }, 500, "internal"],
    [
      "a text that cannot be stored",
      { method: "GET" as const, url: "/nul" },
      400,
      "invalid_request",
    ],
    [
      "a database that is away",
      { method: "GET" as const, url: "/nodb" },
      503,
      "database_unavailable",
    ],
  ])("%s", async (_name, request, status, code) => {
    const response = await withThings().app.inject(request);
    const error = errorOf(response);
    expect([response.statusCode, error.code]).toEqual([status, code]);
    expect(error.requestId).toBe(response.headers["x-request-id"]);
    expect(error.message.length).toBeGreaterThan(5);
  });

  test("wrong fields are all named with their paths", async () => {
    const response = await withThings().app.inject(post('{"jobs":[{"seed":1},{"seed":[]},{}]}'));
    const error = errorOf(response);
    expect(error).toMatchObject({ code: "invalid_request", details: { count: 2 } });
    expect(error.details?.["problems"]).toEqual([
      expect.objectContaining({ field: "body.jobs.1.seed" }),
      expect.objectContaining({ field: "body.jobs.2.seed" }),
    ]);
  });

  test("a wrong parameter is named as one", async () => {
    const response = await withThings().app.inject({ ...post('{"jobs":[]}'), url: "/things/42" });
    expect(errorOf(response).message).toMatch(/^params\.id: /);
  });

  test("a wrong method is told the right ones, a full queue when to come back", async () => {
    const { app } = withThings();
    const wrong = await app.inject({ method: "DELETE", url: "/things/a" });
    expect(wrong.headers.allow).toBe("GET, HEAD, OPTIONS, POST");
    const busy = await app.inject({ method: "GET", url: "/busy" });
    expect(busy.statusCode).toBe(429);
    expect(busy.headers["retry-after"]).toBe("2");
    expect(errorOf(busy).details).toEqual({ limit: 3 });
  });

  test("a bug's reason is logged under the request's id and not told", async () => {
    const response = await withThings().app.inject({ method: "GET", url: "/broken" });
    expect(response.body).not.toContain("secret reason");
    expect(errors).toEqual([
      expect.objectContaining({
        requestId: errorOf(response).requestId,
        err: expect.objectContaining({ message: "the secret reason" }),
      }),
    ]);
  });
});

describe("requests", () => {
  test("integers past 2^53 keep their digits", async () => {
    const payload = '{"jobs":[{"seed":18446744073709551615},{"seed":7}]}';
    const response = await withThings().app.inject(post(payload));
    expect(response.json()).toEqual({ seeds: ["18446744073709551615", 7] });
  });

  test("a caller's own request id is kept when it is one, else replaced", async () => {
    const { app } = withThings();
    const get = async (id: string): Promise<unknown> => {
      const headers = { "x-request-id": id };
      const response = await app.inject({ method: "GET", url: "/healthz", headers });
      return response.headers["x-request-id"];
    };
    expect(await get("trace-1")).toBe("trace-1");
    expect(await get("bad id\u0001")).toMatch(/^req_[0-9a-z]{26}$/);
  });

  test("answers carry headers against sniffing, framing and caching", async () => {
    const response = await withThings().app.inject({ method: "GET", url: "/healthz" });
    expect(response.headers).toMatchObject({
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
      "cache-control": "no-store",
    });
  });

  test("without keys only this machine is answered, whatever a web page makes a browser send", async () => {
    const { app } = withThings({ loopbackOnly: true });
    const status = async (headers: Record<string, string>): Promise<number> =>
      (await app.inject({ method: "GET", url: "/healthz", headers })).statusCode;
    expect(await status({ host: "127.0.0.1:8328" })).toBe(200);
    expect(await status({ host: "localhost:8328", origin: "http://localhost:8328" })).toBe(200);
    expect(await status({ host: "[::1]:8328" })).toBe(200);
    expect(await status({ host: "evil.example:8328" })).toBe(403);
    expect(await status({ host: "127.0.0.1.evil.example" })).toBe(403);
    expect(await status({ host: "127.0.0.1:8328", origin: "https://evil.example" })).toBe(403);
    expect(await status({ host: "127.0.0.1:8328", origin: "null" })).toBe(403);
  });
});

describe("on a real socket", () => {
  test("a body announced too large is refused before it is read, and others are answered meanwhile", async () => {
    const server = withThings();
    const port = await server.listen({ host: "127.0.0.1", port: 0 });
    const answer = new Promise<number>((resolve, reject) => {
      const upload = httpRequest({
        host: "127.0.0.1",
        port,
        method: "POST",
        path: "/things/a",
        headers: { "content-type": "application/json", "content-length": 90_000_000 },
      });
      upload.on("response", (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
        upload.destroy();
      });
      upload.on("error", reject);
      upload.write(Buffer.alloc(100_000)); // Far from all of it: the answer cannot depend on the rest.
    });
    const health = await fetch(`http://127.0.0.1:${port}/healthz`);
    expect(health.status).toBe(200);
    expect(await answer).toBe(413);
  });

  test("a body that grows past the limit unannounced is refused", async () => {
    const server = withThings();
    const port = await server.listen({ host: "127.0.0.1", port: 0 });
    const status = await new Promise<number>((resolve, reject) => {
      const upload = httpRequest({
        host: "127.0.0.1",
        port,
        method: "POST",
        path: "/things/a",
        headers: { "content-type": "application/json", "transfer-encoding": "chunked" },
      });
      upload.on("response", (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      upload.on("error", reject);
      upload.end(Buffer.alloc(5_000, "x"));
    });
    expect(status).toBe(413);
  });

  test("what is not HTTP is told so", async () => {
    const server = withThings();
    const port = await server.listen({ host: "127.0.0.1", port: 0 });
    const text = await new Promise<string>((resolve, reject) => {
      const socket = connect(port, "127.0.0.1", () => socket.write("nonsense\r\n\r\n"));
      let received = "";
      socket.on("data", (chunk) => (received += chunk.toString()));
      socket.on("end", () => resolve(received));
      socket.on("error", reject);
    });
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text).toContain('"code":"invalid_request"');
  });

  test("closing ends long polls and refuses what comes after", async () => {
    const server = make();
    let poll: (() => void) | undefined;
    const polling = new Promise<void>((resolve) => (poll = resolve));
    server.app.get("/poll", async () => {
      poll?.();
      await new Promise<void>((resolve) => {
        server.closing.addEventListener("abort", () => resolve());
      });
      return { ended: true };
    });
    const port = await server.listen({ host: "127.0.0.1", port: 0 });
    const answer = fetch(`http://127.0.0.1:${port}/poll`).then((response) => response.json());
    await polling;
    await server.close();
    expect(await answer).toEqual({ ended: true });
    await expect(fetch(`http://127.0.0.1:${port}/poll`)).rejects.toThrow(/fetch failed/);
  });
});

test("a connection that never asked anything does not hold up closing", async () => {
  const server = withThings();
  const port = await server.listen({ host: "127.0.0.1", port: 0 });
  const socket = connect(port, "127.0.0.1");
  const ended = new Promise<void>((resolve) => {
    socket.on("close", () => resolve());
    socket.on("error", () => undefined);
  });
  await fetch(`http://127.0.0.1:${port}/healthz`); // By now the server has accepted both.
  await server.close();
  await ended;
  expect(socket.destroyed).toBe(true);
}, 5_000);

describe("description", () => {
  test("the document is OpenAPI 3.1 with every route, and its page loads nothing from elsewhere", async () => {
    const server = make();
    await registerOpenApi(server.app, { title: "T", description: "D", version: "1" });
    server.app.get(
      "/things/:id",
      {
        schema: {
          params: z.object({ id: z.string() }),
          response: { 200: z.object({ n: z.int() }) },
        },
      },
      () => ({ n: 1 }),
    );
    await server.app.ready();
    const document = await server.app.inject({ method: "GET", url: OPENAPI_PATH });
    expect(document.json()).toMatchObject({
      openapi: "3.1.0",
      paths: { "/things/{id}": { get: { responses: { 200: {} } } } },
    });
    const page = await server.app.inject({ method: "GET", url: `${DOCS_PATH}/` });
    expect(page.statusCode).toBe(200);
    expect(page.headers["content-type"]).toContain("text/html");
    expect(page.body).not.toMatch(/(?:src|href)="(?:https?:)?\/\//);
    const assets = [...page.body.matchAll(/(?:src|href)="([^"]+\.(?:js|css))"/g)];
    expect(assets.length).toBeGreaterThan(2);
    for (const [, asset] of assets) {
      const url = new URL(asset ?? "", `http://x${DOCS_PATH}/`).pathname;
      expect((await server.app.inject({ method: "GET", url })).statusCode).toBe(200);
    }
    expect(String(page.headers["content-security-policy"])).toMatch(
      /default-src 'self'|script-src/,
    );
  });
});

test("answers are counted by route pattern and class of status, never by path", async () => {
  const metrics = createMetrics();
  const { app } = withThings({ onAnswer: metrics.onAnswer });
  await app.inject({ method: "GET", url: "/things/a" });
  await app.inject({ method: "GET", url: "/things/b" });
  await app.inject({ method: "GET", url: "/some/unknown/path" });
  const text = await metrics.text();
  metrics.stop();
  expect(text).toContain(
    'holdfast_http_request_seconds_count{method="GET",route="/things/:id",status="2xx"} 2',
  );
  expect(text).toContain('route="unknown",status="4xx"');
  expect(text).not.toContain("/things/a");
});
