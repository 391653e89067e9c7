import { appendFile, mkdtemp, rename, rm, truncate, writeFile } from "node:fs/promises";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ERROR_CODES } from "@holdfast/contract";
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { until } from "../../../../test/support/processes.ts";
import type { ServiceFacts, ServiceSource } from "../services/model.ts";
import { createServiceRegistry, type ServiceRegistry } from "../services/service-registry.ts";
import {
  createHealthServer,
  type HealthServer,
  type HealthServerOptions,
} from "./health-server.ts";
import {
  healthAnswerSchema,
  logsAnswerSchema,
  readyAnswerSchema,
  serviceAnswerSchema,
  servicesAnswerSchema,
  transitionsAnswerSchema,
} from "./model.ts";

const log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
const TOKEN = "0123456789abcdef0123";
let folder = "";
let registry: ServiceRegistry;
const servers: HealthServer[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-health-"));
  registry = createServiceRegistry({ clock: systemClock, log });
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
  await rm(folder, { recursive: true });
});

const source = (
  name: string,
  runtime: ServiceFacts["runtime"]["state"],
  over: Partial<ServiceSource> = {},
): ServiceSource => ({
  name,
  kind: "process",
  dependsOn: [],
  facts: () => ({
    isConfigured: true,
    installation: { state: "installed", detail: null, version: "r1" },
    runtime: { state: runtime, pid: 7, startedAt: 1_000, restarts: 2, detail: null },
    check: { state: "none", detail: null, checkedAt: null },
  }),
  details: () => ({ port: 8188 }),
  logFiles: () => [],
  ...over,
});

const start = async (over: Partial<HealthServerOptions> = {}): Promise<string> => {
  const server = createHealthServer({
    address: { host: "127.0.0.1", port: 0, tokenFile: undefined },
    version: "1.2.3",
    machineName: "box",
    clock: systemClock,
    random: seededRandom(1),
    log,
    ...over,
  });
  servers.push(server);
  await server.start();
  const url = server.listening()?.url;
  if (url === undefined) throw new Error("does not listen");
  return url;
};
const attach = (): void => servers.at(-1)?.attach({ services: registry });

const get = async (
  url: string,
  init: RequestInit = {},
): Promise<{ status: number; body: unknown; text: string; headers: Headers }> => {
  const answer = await fetch(url, init);
  const text = await answer.text();
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  return { status: answer.status, body, text, headers: answer.headers };
};
const statusFor = (url: string, headers: Record<string, string>): Promise<number> =>
  new Promise((resolve, reject) => {
    // Not `fetch`, which lets nobody choose `Host`.
    const request = httpRequest(url, { headers }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    request.on("error", reject).end();
  });

describe("before anything is known", () => {
  test("every route answers: ComfyUI is there and not configured", async () => {
    const url = await start();
    const health = await get(`${url}/health`);
    expect(health.status).toBe(200);
    expect(healthAnswerSchema.parse(health.body)).toMatchObject({
      state: "not_configured",
      ready: false,
      name: "box",
      version: "1.2.3",
      machineId: null,
    });
    const services = servicesAnswerSchema.parse((await get(`${url}/services`)).body);
    expect(services.services.map(({ name, state }) => [name, state])).toEqual([
      ["comfyui", "not_configured"],
    ]);
    const ready = await get(`${url}/ready`);
    expect(ready.status).toBe(503);
    expect(readyAnswerSchema.parse(ready.body).reason).toMatch(/no service is enabled/);
    expect((await get(`${url}/services/comfyui/health`)).status).toBe(503);
  });
});

describe("with services", () => {
  test("a healthy one is 200, another 503, in the shape that is promised", async () => {
    const url = await start();
    attach();
    registry.replace([source("web", "running", { dependsOn: ["db"] }), source("db", "stopped")]);
    const web = await get(`${url}/services/web/health`);
    expect(web.status).toBe(200);
    expect(serviceAnswerSchema.parse(web.body)).toMatchObject({
      state: "healthy",
      dependencies: [{ name: "db", state: "stopped" }],
      runtime: { startedAt: "1970-01-01T00:00:01.000Z", restarts: 2 },
    });
    expect((await get(`${url}/services/db/health`)).status).toBe(503);
    expect(servicesAnswerSchema.parse((await get(`${url}/services`)).body).state).toBe("degraded");
    registry.replace([source("web", "running")]);
    expect((await get(`${url}/ready`)).status).toBe(200);
    const list = servicesAnswerSchema.parse((await get(`${url}/services`)).body);
    expect(list.services).toHaveLength(1);
    const { transitions } = transitionsAnswerSchema.parse(
      (await get(`${url}/services/web/transitions`)).body,
    );
    expect(transitions.map(({ to }) => to)).toEqual(["healthy"]);
  });

  test("facts of the machine are told as they are attached", async () => {
    const url = await start();
    servers.at(-1)?.attach({
      facts: () => ({
        machineId: "mch_1",
        name: "box",
        gpus: [],
        controlPlane: { state: "disconnected", url: "http://cp", detail: "refused" },
        release: "r1",
        manifest: { path: "/m.yaml", problems: ["nodes.0.ref: missing"] },
      }),
    });
    expect(healthAnswerSchema.parse((await get(`${url}/health`)).body)).toMatchObject({
      machineId: "mch_1",
      controlPlane: { state: "disconnected" },
      manifest: { problems: ["nodes.0.ref: missing"] },
    });
  });

  test("metrics tell one state of each, restarts, transitions, and no unknown as zero", async () => {
    const url = await start();
    attach();
    servers.at(-1)?.attach({
      facts: () => ({
        machineId: null,
        name: "box",
        gpus: [
          {
            index: 0,
            uuid: null,
            name: "H100",
            health: "ok",
            memoryTotalBytes: 80,
            memoryUsedBytes: null,
            utilization: 0.5,
            temperatureCelsius: null,
          },
        ],
        controlPlane: { state: "none", url: null, detail: null },
        release: null,
        manifest: { path: null, problems: [] },
      }),
    });
    registry.replace([source("web", "running")]);
    await get(`${url}/health`);
    const { text, headers } = await get(`${url}/metrics`);
    expect(headers.get("content-type")).toMatch(/^text\/plain/);
    expect(text).toContain('holdfast_service_state{service="web",state="healthy"} 1');
    expect(text).toContain('holdfast_service_state{service="web",state="stopped"} 0');
    expect(text).toContain('holdfast_service_restarts_total{service="web"} 2');
    expect(text).toContain('holdfast_service_transitions_total{service="web",to="healthy"} 1');
    expect(text).toContain("holdfast_machine_ready 1");
    expect(text).toContain('holdfast_gpu_memory_total_bytes{gpu="0"} 80');
    expect(text).toContain('holdfast_gpu_utilization_ratio{gpu="0"} 0.5');
    expect(text).not.toContain("holdfast_gpu_memory_used_bytes{");
    expect(text).toMatch(/health_request_seconds_count\{route="\/health",status="2xx"\} 1/);
    registry.replace([]);
    expect((await get(`${url}/metrics`)).text).not.toContain('state{service="web"');
  });
});

describe("what no route takes", () => {
  test("errors have one shape and say what there is", async () => {
    const url = await start();
    attach();
    registry.replace([source("web", "running")]);
    const cases = [
      ["GET", "/nothing", 404, "not_found", /there are \/health, \/services/],
      ["GET", "/services/ghost/health", 404, "not_found", /there are web/],
      ["GET", "/services/ghost/logs", 404, "not_found", /there are web/],
      ["GET", "/services/web/logs", 404, "not_found", /writes no log/],
      ["POST", "/health", 405, "method_not_allowed", /takes GET, HEAD, OPTIONS/],
      ["DELETE", "/services/web/health", 405, "method_not_allowed", /not DELETE/],
      ["POST", "/nothing", 404, "not_found", /no such route/],
    ] as const;
    for (const [method, path, status, code, message] of cases) {
      const answer = await get(url + path, { method });
      const { error } = answer.body as { error: Record<string, string> };
      expect([path, answer.status, error["code"]]).toEqual([path, status, code]);
      expect(ERROR_CODES[code].status).toBe(status);
      expect(error["message"]).toMatch(message);
      expect(error["requestId"]).toBe(answer.headers.get("x-request-id"));
      if (status === 405) expect(answer.headers.get("allow")).toBe("GET, HEAD, OPTIONS");
    }
  });

  test("HEAD has no body, OPTIONS tells the methods, a slash at the end does not matter", async () => {
    const url = await start();
    const head = await get(`${url}/health`, { method: "HEAD" });
    expect([head.status, head.text]).toEqual([200, ""]);
    const options = await get(`${url}/services`, { method: "OPTIONS" });
    expect([options.status, options.headers.get("allow")]).toEqual([204, "GET, HEAD, OPTIONS"]);
    expect((await get(`${url}/health/`)).status).toBe(200);
    expect((await get(`${url}/health`)).headers.get("x-content-type-options")).toBe("nosniff");
  });
});

describe("who is answered", () => {
  const everyRoute = ["/health", "/services", "/services/comfyui/health", "/ready", "/metrics"];

  test("on loopback a rebound name or a page of elsewhere is not, this machine is", async () => {
    const url = await start();
    for (const path of [...everyRoute, "/services/comfyui/logs", "/nothing"]) {
      expect(await statusFor(url + path, { host: "evil.example" })).toBe(403);
      expect(await statusFor(url + path, { origin: "https://evil.example" })).toBe(403);
      // The twin: the same requests by a name of this machine are answered.
      expect(await statusFor(url + path, { host: "localhost:9090" })).not.toBe(403);
    }
  });

  test("on a public address only the token is, but for one word on /ready", async () => {
    const tokenFile = join(folder, "token");
    await writeFile(tokenFile, TOKEN, { mode: 0o600 });
    const url = await start({ address: { host: "0.0.0.0", port: 0, tokenFile } });
    const valid = { authorization: `Bearer ${TOKEN}` };
    for (const path of everyRoute) {
      const without = await get(url + path);
      const wrong = await get(url + path, { headers: { authorization: "Bearer wrong" } });
      const right = await get(url + path, { headers: valid });
      expect([path, [200, 503]]).toEqual([path, expect.arrayContaining([right.status])]);
      if (path === "/ready") {
        expect(without.body).toEqual({ ready: false });
        expect(wrong.body).toEqual({ ready: false });
        expect(right.body).toHaveProperty("reason");
      } else {
        expect([path, without.status, wrong.status]).toEqual([path, 401, 401]);
        expect(without.headers.get("www-authenticate")).toBe("Bearer");
      }
    }
    // A name of loopback opens nothing there.
    expect(await statusFor(`${url}/health`, { host: "localhost" })).toBe(401);
    expect((await get(`${url}/nothing`)).status).toBe(401);
  });

  test("a public address without a token is not opened at all", async () => {
    const opening = start({ address: { host: "0.0.0.0", port: 0, tokenFile: undefined } });
    await expect(opening).rejects.toThrow(/no token guards it/);
    expect(servers.at(-1)?.listening()).toBeUndefined();
  });
});

/** Writes a text as it is, and gives what comes back until the end. */
const raw = (url: string, text: string): Promise<string> =>
  new Promise((resolve) => {
    const { port } = new URL(url);
    const socket = connect(Number(port), "127.0.0.1", () => void socket.write(text));
    let answer = "";
    socket.on("data", (chunk: Buffer) => (answer += chunk.toString()));
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(answer));
  });

describe("bounds", () => {
  test("too large headers, too slow a request, and what is not HTTP", async () => {
    const url = await start({ limits: { requestMs: 100, lateCheckMs: 20 } });
    const large = `GET /health HTTP/1.1\r\nhost: localhost\r\nx: ${"x".repeat(20_000)}\r\n\r\n`;
    expect(await raw(url, large)).toMatch(/^HTTP\/1.1 431/);
    expect(await raw(url, "GET /health HTTP/1.1\r\nhost: loc")).toMatch(/^HTTP\/1.1 408/);
    expect(await raw(url, "hello\r\n\r\n")).toMatch(/^HTTP\/1.1 400/);
  });

  test("more connections than the limit are dropped, and let in again when there is room", async () => {
    const url = await start({ limits: { connectionsMax: 2 } });
    const { port } = new URL(url);
    const idle = [1, 2].map(() => connect(Number(port), "127.0.0.1"));
    await until("both are connected", () => idle.every((socket) => !socket.connecting), 5_000);
    await expect(statusFor(`${url}/health`, {})).rejects.toThrow();
    for (const socket of idle) socket.destroy();
    await until(
      "there is room",
      () => statusFor(`${url}/health`, {}).then((s) => s === 200),
      5_000,
    );
  });
});

const out = (): string => join(folder, "out.log");
const errorLog = (): string => join(folder, "error.log");
/** Reads a stream as it comes. */
const open = async (url: string) => {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    httpRequest(url, resolve).on("error", reject).end();
  });
  const state = { text: "", ended: false, status: response.statusCode };
  response.on("data", (chunk: Buffer) => (state.text += chunk.toString()));
  response.on("error", () => undefined);
  response.on("close", () => (state.ended = true));
  return {
    state,
    close: () => void response.destroy(),
    saw: (text: string) => until(`the stream has ${text}`, () => state.text.includes(text), 5_000),
  };
};

const statusForFollow = async (url: string): Promise<number | undefined> => {
  const stream = await open(`${url}?follow=1&tail=0`);
  stream.close();
  return stream.state.status;
};

const startWithLogs = async (over: Partial<HealthServerOptions> = {}): Promise<string> => {
  const url = await start({ limits: { pollMs: 10, followersMax: 2 }, ...over });
  attach();
  registry.replace([source("web", "running", { logFiles: () => [out(), errorLog()] })]);
  return `${url}/services/web/logs`;
};

describe("logs", () => {
  test("the end of each file, as text and as JSON", async () => {
    const url = await startWithLogs();
    expect((await get(url)).text).toBe("");
    await writeFile(out(), "one\ntwo\nthree\n");
    const text = await get(`${url}?tail=2`);
    expect(text.text).toBe("two\nthree\n");
    expect(text.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(text.headers.get("x-holdfast-log-truncated")).toBe("true");
    await writeFile(errorLog(), "oh no");
    expect((await get(`${url}?tail=1`)).text).toBe(
      "==> out.log <==\nthree\n\n==> error.log <==\noh no",
    );
    const json = await get(`${url}?tail=1`, { headers: { accept: "application/json" } });
    expect(logsAnswerSchema.parse(json.body).files.map(({ file, lines }) => [file, lines])).toEqual(
      [
        ["out.log", ["three"]],
        ["error.log", ["oh no"]],
      ],
    );
    expect((await get(`${url}?file=out.log&tail=1`)).text).toBe("three\n");
  });

  test("a wrong question is told, and no path of the caller's is opened", async () => {
    const url = await startWithLogs();
    await writeFile(out(), "x\n");
    for (const query of [
      "tail=-1",
      "tail=10001",
      "tail=x",
      "follow=maybe",
      "lines=5",
      "tail=1&tail=2",
    ]) {
      const { status, body } = await get(`${url}?${query}`);
      expect([query, status]).toEqual([query, 400]);
      expect(body).toMatchObject({ error: { code: "invalid_request" } });
    }
    for (const file of ["..%2Fsecret", "%2Fetc%2Fpasswd", "other.log"]) {
      const { status, text } = await get(`${url}?file=${file}`);
      expect(status).toBe(404);
      expect(text).toContain("there are: out.log, error.log");
    }
  });

  test("following goes on over a rename, an emptied file, and one that comes later", async () => {
    const url = await startWithLogs();
    await writeFile(out(), "old 1\nold 2\n");
    const stream = await open(`${url}?follow=true&tail=1`);
    await stream.saw("old 2");
    await appendFile(out(), "new 1\n");
    await stream.saw("new 1");
    await rename(out(), `${out()}.1`);
    await appendFile(`${out()}.1`, "still the old file\n");
    await stream.saw("still the old file");
    await writeFile(out(), "after the rotation\n");
    await stream.saw("after the rotation");
    await truncate(out(), 0);
    await until("the truncation was seen", async () => {
      await appendFile(out(), "t\n");
      return stream.state.text.includes("t\n");
    });
    await writeFile(errorLog(), "first error\n");
    await stream.saw("==> error.log <==\nfirst error\n");
    expect(stream.state.text).not.toContain("old 1");
    stream.close();
  });

  test("as JSON, line by line", async () => {
    const url = await startWithLogs();
    await writeFile(out(), "a\n");
    const stream = await open(`${url}?follow&format=json`);
    await stream.saw('{"file":"out.log","line":"a"}\n');
    await appendFile(out(), "b\nhal");
    await stream.saw('{"file":"out.log","line":"b"}\n');
    await appendFile(out(), "f\n");
    await stream.saw('{"file":"out.log","line":"half"}\n');
    stream.close();
  });

  test("followers are few, and one that goes makes room", async () => {
    const url = await startWithLogs();
    await writeFile(out(), "a\n");
    const [first, second] = [await open(`${url}?follow=1`), await open(`${url}?follow=1`)];
    await first.saw("a");
    const third = await get(`${url}?follow=1`);
    expect([third.status, third.headers.get("retry-after")]).toEqual([429, "10"]);
    // HEAD and plain questions need no room.
    expect((await get(`${url}?follow=1`, { method: "HEAD" })).status).toBe(200);
    expect((await get(url)).status).toBe(200);
    first.close();
    const fourth = await until("there is room", async () => {
      const stream = await open(`${url}?follow=1`);
      if (stream.state.status === 200) return stream;
      stream.close();
      return undefined;
    });
    second.close();
    fourth.close();
  });

  test("a stream ends when the server stops, and when it was forgotten", async () => {
    const url = await startWithLogs();
    const stream = await open(`${url}?follow=1`);
    await servers.at(-1)?.stop();
    await until("it has ended", () => stream.state.ended, 5_000);
    const other = await startWithLogs({ limits: { pollMs: 10, followMaxMs: 50 } });
    const forgotten = await open(`${other}?follow=1`);
    await until("it has ended", () => forgotten.state.ended, 5_000);
  });

  test("a client that reads nothing is let go, and makes room", async () => {
    const limits = { pollMs: 5, stallMs: 100, followersMax: 1 };
    const url = await startWithLogs({ limits });
    await writeFile(out(), "");
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      httpRequest(`${url}?follow=1`, resolve).on("error", reject).end();
    });
    response.on("error", () => undefined).pause();
    const line = `${"x".repeat(1_000_000)}\n`;
    await until("there is room", async () => {
      await appendFile(out(), line);
      return (await statusForFollow(url)) === 200;
    });
    response.destroy();
  });
});
