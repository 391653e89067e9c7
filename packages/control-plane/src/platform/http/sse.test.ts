import { connect } from "node:net";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, describe, expect, test } from "vitest";
import { SILENT_LOG } from "../log.ts";
import { createEventQueue } from "./event-queue.ts";
import { buildHttpServer, type HttpServer } from "./server.ts";
import {
  formatStreamEvent,
  lastEventId,
  sendEventStream,
  type EventStreamOptions,
  type StreamEvent,
} from "./sse.ts";

const servers: HttpServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

const serve = async (
  source: (signal: AbortSignal, since: string | undefined) => AsyncIterable<StreamEvent>,
  over: Partial<EventStreamOptions> = {},
): Promise<{ port: number; server: HttpServer; ended: Promise<void> }> => {
  const server = buildHttpServer({
    log: SILENT_LOG,
    clock: systemClock,
    ids: createIdSource(systemClock, seededRandom(1)),
    bodyLimitBytes: 1_000,
  });
  servers.push(server);
  let end: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => (end = resolve));
  server.app.get("/stream", async (request, reply) => {
    const since = lastEventId(request);
    await sendEventStream(reply, {
      clock: systemClock,
      heartbeatMs: 60_000,
      closing: server.closing,
      ...over,
      source: (signal) => source(signal, since),
    });
    end();
  });
  const port = await server.listen({ host: "127.0.0.1", port: 0 });
  return { port, server, ended };
};
async function* counting(signal: AbortSignal): AsyncGenerator<StreamEvent> {
  for (let n = 1; n <= 3 && !signal.aborted; n += 1) {
    yield { id: `evt_${n}`, event: "tick", data: { n } };
  }
}

test("an event stands on the wire as the standard says, and cannot break out of its lines", () => {
  expect(formatStreamEvent({ id: "a", event: "x", data: { text: "two\nlines" } })).toBe(
    'id: a\nevent: x\ndata: {"text":"two\\nlines"}\n\n',
  );
  expect(formatStreamEvent({ id: "a\ndata: fake", data: 1 })).toBe("id: a data: fake\ndata: 1\n\n");
});

describe("a stream", () => {
  test("answers HEAD with its headers, and ends", async () => {
    const { port, ended } = await serve(async function* (): AsyncGenerator<StreamEvent> {
      yield await new Promise<never>(() => undefined);
    });
    const response = await fetch(`http://127.0.0.1:${port}/stream`, {
      method: "HEAD",
      signal: AbortSignal.timeout(5_000),
    });
    expect(response.headers.get("content-type")).toContain("text/event-stream");
    await ended;
  });

  test("sends all events and ends with its source", async () => {
    const { port } = await serve(counting);
    const response = await fetch(`http://127.0.0.1:${port}/stream`);
    expect(response.headers.get("content-type")).toContain("text/event-stream");
    expect(response.headers.get("x-content-type-options")).toBe("nosniff");
    const text = await response.text();
    expect(text.match(/^id: evt_\d$/gm)).toEqual(["id: evt_1", "id: evt_2", "id: evt_3"]);
  });

  test("tells its source where a returning client left off", async () => {
    const seen: (string | undefined)[] = [];
    const { port } = await serve(async function* (_signal, since) {
      seen.push(since);
      yield { data: 0 };
    });
    const url = `http://127.0.0.1:${port}/stream`;
    await (await fetch(url, { headers: { "last-event-id": "evt_7" } })).text();
    await (await fetch(`${url}?lastEventId=evt_8`)).text();
    await (await fetch(url)).text();
    expect(seen).toEqual(["evt_7", "evt_8", undefined]);
  });

  test("whose client goes away tells its source to end", async () => {
    const queue = createEventQueue<StreamEvent>(10);
    const { port, ended } = await serve((signal) => queue.read(signal));
    const client = new AbortController();
    const response = await fetch(`http://127.0.0.1:${port}/stream`, { signal: client.signal });
    expect(response.status).toBe(200);
    client.abort();
    await ended;
    expect(queue.push({ data: 1 })).toBe(false);
  });

  test("ends when the server closes", async () => {
    const queue = createEventQueue<StreamEvent>(10);
    const { port, server, ended } = await serve((signal) => queue.read(signal));
    const response = await fetch(`http://127.0.0.1:${port}/stream`);
    await server.close();
    await ended;
    expect(await response.text()).toContain("retry:");
  });

  test("shows in silence that it lives", async () => {
    const clock = createFakeClock();
    const queue = createEventQueue<StreamEvent>(10);
    const { port } = await serve((signal) => queue.read(signal), { clock, heartbeatMs: 1_000 });
    const response = await fetch(`http://127.0.0.1:${port}/stream`);
    await clock.advance(2_500);
    queue.end();
    const text = await response.text();
    expect(text.match(/^: still here$/gm)).toHaveLength(2);
  });

  test("does not run ahead of a client that does not read, and lets it go in the end", async () => {
    const clock = createFakeClock();
    let produced = 0;
    const { port, ended } = await serve(
      async function* (signal) {
        while (!signal.aborted) {
          produced += 1;
          yield { data: "x".repeat(100_000) };
        }
      },
      { clock, stallLimitMs: 5_000, heartbeatMs: 60_000 },
    );
    const socket = connect(port, "127.0.0.1", () => {
      socket.pause();
      socket.write("GET /stream HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    });
    socket.on("error", () => undefined);
    // The heartbeat sleeps; a second sleeper is the write that waits for the client.
    while (clock.sleeperCount() < 2) await new Promise((resolve) => setImmediate(resolve));
    const producedWhenFull = produced;
    await clock.advance(5_000);
    await ended;
    // The kernel takes some megabytes at most; nothing was produced once it was full.
    expect(producedWhenFull).toBeLessThan(200);
    expect(produced).toBe(producedWhenFull);
    socket.destroy();
  });
});

describe("the queue between", () => {
  test("keeps order, and ends for the reader when it overflows", async () => {
    const queue = createEventQueue<number>(3);
    expect([1, 2, 3].map((n) => queue.push(n))).toEqual([true, true, true]);
    expect(queue.push(4)).toBe(false);
    const read: number[] = [];
    for await (const n of queue.read(new AbortController().signal)) read.push(n);
    expect(read).toEqual([1, 2, 3]);
  });

  test("wakes a waiting reader", async () => {
    const queue = createEventQueue<number>(3);
    const reader = queue.read(new AbortController().signal);
    const next = reader.next();
    queue.push(5);
    expect(await next).toEqual({ done: false, value: 5 });
  });
});
