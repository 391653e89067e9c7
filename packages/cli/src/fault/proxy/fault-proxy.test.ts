import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { connect } from "node:net";
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createFaultProxy, type FaultProxy } from "./fault-proxy.ts";
import { chunkDelayMs, openDelayMs } from "./line-loss.ts";

let server: Server;
let proxy: FaultProxy;
let seen: string[];

beforeEach(async () => {
  seen = [];
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      seen.push(`${request.method} ${request.url} ${body.length}`);
      response.end("as it is");
    });
  });
  server.on("upgrade", (_, socket) => {
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    );
    socket.on("error", () => undefined);
    // An upgraded connection is the server's no more: nothing else would end it.
    socket.on("end", () => socket.destroy());
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  proxy = createFaultProxy(
    `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    systemClock,
  );
  await proxy.start();
});
afterEach(async () => {
  await proxy.stop();
  server.closeAllConnections();
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
});

const get = (path: string): Promise<Response> => fetch(`${proxy.url()}${path}`);
const post = (path: string, body: string): Promise<Response> =>
  fetch(`${proxy.url()}${path}`, { method: "POST", body });
/** Opens a WebSocket by hand; resolves when it is open, or false when it was refused. */
const openSocket = (): Promise<{ closed: Promise<void> } | false> =>
  new Promise((resolve) => {
    const socket = connect(Number(new URL(proxy.url()).port), "127.0.0.1");
    const closed = new Promise<void>((done) => {
      socket.once("close", () => done());
    });
    socket.once("connect", () =>
      socket.write(
        "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
      ),
    );
    socket.on("error", () => undefined);
    socket.once("data", () => resolve({ closed }));
    socket.once("close", () => resolve(false));
  });

describe("the proxy of faults", () => {
  it("answers so many requests itself, and passes on the others", async () => {
    const rule = proxy.add({
      action: { kind: "answer", status: 503 },
      method: "POST",
      path: "/prompt",
      count: 2,
    });
    const statuses = [];
    // Larger than one chunk: what is still being sent must not break the answer.
    for (let n = 0; n < 3; n += 1)
      statuses.push((await post("/api/prompt", "x".repeat(200_000))).status);
    expect(statuses).toEqual([503, 503, 200]);
    expect((await get("/prompt")).status).toBe(200);
    expect(rule.struck()).toBe(2);
    expect(seen).toEqual(["POST /api/prompt 200000", "GET /prompt 0"]);
  });

  it("strikes one in so many", async () => {
    const action = { kind: "answer", status: 500 } as const;
    proxy.add({ action, path: "/x", count: 0, every: 3 });
    const statuses = [];
    for (let n = 0; n < 6; n += 1) statuses.push((await get("/x")).status);
    expect(statuses).toEqual([200, 200, 500, 200, 200, 500]);
  });

  it("answers in the server's place when the whole body says so", async () => {
    proxy.add({
      action: {
        kind: "respond",
        respond: ({ body }) =>
          body.endsWith("mine") ? { status: 200, json: { length: body.length } } : undefined,
      },
      method: "POST",
      count: 0,
    });
    expect(await (await post("/a", `${"x".repeat(100_000)}mine`)).json()).toEqual({
      length: 100_004,
    });
    expect(await (await post("/a", "yours")).text()).toBe("as it is");
    expect(seen).toEqual(["POST /a 5"]);
  });

  it("cuts before a request arrives, or after", async () => {
    const cut = (when: "before" | "after") =>
      proxy.add({ action: { kind: "cut", when, connections: "this" }, path: "/x", count: 1 });
    cut("before");
    await expect(get("/x")).rejects.toThrow();
    expect(seen).toEqual([]);
    cut("after");
    await expect(get("/x")).rejects.toThrow();
    expect(seen).toEqual(["GET /x 0"]);
    expect((await get("/x")).status).toBe(200);
  });

  it("cuts WebSockets and nothing else, and refuses new ones until told", async () => {
    const socket = await openSocket();
    if (socket === false) throw new Error("refused");
    expect(proxy.cutSockets()).toBe(1);
    await socket.closed;
    expect((await get("/x")).status).toBe(200);
    proxy.refuseSockets(true);
    expect(await openSocket()).toBe(false);
    expect(proxy.socketsRefused()).toBe(1);
    proxy.refuseSockets(false);
    expect(await openSocket()).not.toBe(false);
  });

  it("loses no byte, whatever it delays", async () => {
    proxy.setLoss({ share: 0.3, random: seededRandom(5) });
    const bodies = [1, 1_000, 300_000].map((length) => post("/x", "x".repeat(length)));
    for (const answer of await Promise.all(bodies)) expect(await answer.text()).toBe("as it is");
    expect(seen.toSorted()).toEqual(["POST /x 1", "POST /x 1000", "POST /x 300000"]);
    expect(proxy.lost()).toBeGreaterThan(0);
  });
});

describe("loss as TCP shows it", () => {
  it("is as frequent as it should be, and never endless", () => {
    const random = seededRandom(3);
    const delays = Array.from({ length: 10_000 }, () => chunkDelayMs({ share: 0.1, random }));
    const late = delays.filter((ms) => ms > 0).length / delays.length;
    expect(late).toBeGreaterThan(0.08);
    expect(late).toBeLessThan(0.12);
  });

  it("waits whole retransmissions", () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1, noNaN: true }), fc.integer(), (share, seed) => {
        const random = seededRandom(seed);
        expect([0, 200, 600, 1_400, 3_000, 6_200]).toContain(chunkDelayMs({ share, random }));
        expect([0, 1_000, 3_000, 7_000, 15_000, 31_000]).toContain(openDelayMs({ share, random }));
      }),
    );
  });
});
