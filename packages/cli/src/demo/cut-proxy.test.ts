import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createCutProxy, type CutProxy } from "./cut-proxy.ts";

let server: Server;
let proxy: CutProxy;
let bodies: string[];

beforeEach(async () => {
  bodies = [];
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      bodies.push(body);
      response.end(`${request.method} ${request.url} ${request.headers.host}`);
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  proxy = createCutProxy(upstreamUrl(), systemClock);
  await proxy.start();
});

afterEach(async () => {
  await proxy.stop();
  server.closeAllConnections();
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
});

const upstreamUrl = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const post = (graph: string): Promise<Response> =>
  fetch(`${proxy.url()}/prompt`, {
    method: "POST",
    body: `{"prompt":{"1":"${graph}"},"prompt_id":"p-1"}`,
  });

describe("the demo's proxy", () => {
  it("passes requests on, under the name of the host behind it", async () => {
    const host = new URL(upstreamUrl()).host;
    expect(await (await fetch(`${proxy.url()}/queue?x=1`)).text()).toBe(`GET /queue?x=1 ${host}`);
    expect(await (await post("ours")).text()).toBe(`POST /prompt ${host}`);
    expect(proxy.cutPromptId()).toBeUndefined();
  });

  it("loses the answer to one prompt that did arrive, names it, and then behaves", async () => {
    proxy.cutAtPromptWith("ours");
    expect((await fetch(`${proxy.url()}/queue`)).status).toBe(200);
    expect((await post("another")).status).toBe(200);
    await expect(post("ours")).rejects.toThrow();
    expect(bodies.at(-1)).toContain("p-1");
    expect(proxy.cutPromptId()).toBe("p-1");
    expect((await post("ours")).status).toBe(200);
  });
});
