import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, expect, test } from "vitest";
import { createHttpPort, type Call, type HttpPort } from "./http.ts";

let server: Server | undefined;
let port: HttpPort | undefined;
afterEach(async () => {
  await port?.close();
  server?.closeAllConnections();
  server?.close();
});

async function serve(answer: RequestListener, path = "", connections = 1): Promise<HttpPort> {
  server = createServer(answer);
  await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
  const { port: number } = server.address() as AddressInfo;
  port = createHttpPort({
    baseUrl: `http://127.0.0.1:${number}${path}`,
    clock: systemClock,
    connections,
    connectTimeoutMs: 1_000,
    bodyIdleMs: 1_000,
    headers: { "x-own": "yes" },
    dispatcher: undefined,
  });
  return port;
}

const get = (over: Partial<Call> = {}): Call => ({
  method: "GET",
  path: "/queue",
  timeoutMs: 5_000,
  maxBodyBytes: 1_000,
  signal: undefined,
  ...over,
});

test("a call goes below the base URL with the port's headers and its own, and brings status and text", async () => {
  const seen: unknown[] = [];
  const http = await serve((request, response) => {
    request.setEncoding("utf8").on("data", (body: string) => {
      seen.push([request.method, request.url, request.headers["x-own"], body]);
      response.writeHead(418).end("häh");
    });
  }, "/comfy/");
  const headers = { "content-type": "application/json" };
  expect(await http.call(get({ method: "POST", path: "/prompt", body: "{}", headers }))).toEqual({
    kind: "answer",
    status: 418,
    body: "häh",
  });
  expect(seen).toEqual([["POST", "/comfy/prompt", "yes", "{}"]]);
});

test("a call whose time is over before a connection is free is never sent", async () => {
  const asked: string[] = [];
  const waiting: (() => void)[] = [];
  const http = await serve((request, response) => {
    asked.push(request.url ?? "");
    waiting.push(() => response.end("{}"));
  });
  const first = http.call(get({ path: "/first" }));
  await expect.poll(() => waiting.length).toBe(1);
  const late = await http.call(get({ path: "/late", timeoutMs: 20 }));
  expect(late).toEqual({ kind: "timeout", afterMs: 20 });
  const left = new AbortController();
  const leaving = http.call(get({ path: "/left", signal: left.signal }));
  left.abort(new Error("not ours any more"));
  await expect(leaving).rejects.toThrow("not ours any more");
  waiting[0]?.();
  expect(await first).toMatchObject({ kind: "answer", status: 200 });
  const next = http.call(get({ path: "/next" }));
  await expect.poll(() => waiting.length).toBe(2);
  waiting[1]?.();
  expect(await next).toMatchObject({ kind: "answer" });
  expect(asked).toEqual(["/first", "/next"]);
});

test("an answer that is too large, breaks off or stays away is told as what it is", async () => {
  const http = await serve((request, response) => {
    if (request.url === "/large") response.end("x".repeat(2_000));
    else if (request.url === "/cut") {
      response.writeHead(200, { "content-length": "100" });
      response.write("half", () => response.destroy());
    }
  });
  expect(await http.call(get({ path: "/large" }))).toEqual({
    kind: "malformed",
    message: "answer larger than 1000 bytes",
  });
  expect(await http.call(get({ path: "/cut" }))).toMatchObject({ kind: "unreachable", sent: true });
  expect(await http.call(get({ path: "/never", timeoutMs: 30 }))).toEqual({
    kind: "timeout",
    afterMs: 30,
  });
  const gone = new AbortController();
  const leaving = http.call(get({ path: "/never", signal: gone.signal }));
  gone.abort(new Error("stopped"));
  await expect(leaving).rejects.toThrow("stopped");
  await expect(http.call(get({ signal: gone.signal }))).rejects.toThrow("stopped");
});

test("a refused connection says that nothing was sent", async () => {
  const http = await serve((_, response) => response.end());
  await new Promise((resolve) => server?.close(resolve));
  expect(await http.call(get())).toMatchObject({
    kind: "unreachable",
    code: "ECONNREFUSED",
    sent: false,
  });
});
