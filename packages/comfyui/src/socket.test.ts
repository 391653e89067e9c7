import { once } from "node:events";
import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { WebSocket } from "ws";
import { startFakeComfy, type FakeComfy } from "../testing/fake-comfyui.ts";
import {
  createComfySocket,
  type ComfySocket,
  type ComfySocketOptions,
  type SocketEvent,
} from "./socket.ts";

let fake: FakeComfy;
let socket: ComfySocket;
let events: SocketEvent[];
let waiting: (() => void)[];

beforeEach(async () => {
  fake = await startFakeComfy();
  events = [];
  waiting = [];
});

afterEach(async () => {
  await socket.stop();
  await fake.close();
});

function open(options: Partial<ComfySocketOptions> = {}): void {
  socket = createComfySocket({
    baseUrl: fake.url,
    clientId: "c 1",
    clock: systemClock,
    settleMs: 20,
    backoff: { initialMs: 10, factor: 1, maxMs: 10, jitter: 0 },
    onEvent: (event) => {
      events.push(event);
      for (const wake of waiting.splice(0)) wake();
    },
    ...options,
  });
  socket.start();
}

/** Resolves when the condition holds; looked at after every event. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise<void>((resolve) => waiting.push(resolve));
}

const states = (): string[] => events.flatMap((e) => (e.kind === "state" ? [e.state] : []));

async function serverSide(index: number): Promise<WebSocket> {
  await until(() => states().filter((s) => s === "open").length > index);
  const found = fake.sockets[index];
  if (found === undefined) throw new Error("no such connection");
  return found;
}

test("messages and frames come through in order, and reset the silence", async () => {
  open();
  const server = await serverSide(0);
  expect(socket.state()).toBe("open");
  server.send('{"type":"execution_start","data":{"prompt_id":"p","timestamp":1}}');
  server.send(Buffer.from("0000000100000002aabb", "hex"));
  server.send("garbage");
  await until(() => events.filter((e) => e.kind !== "state").length === 3);
  expect(events.filter((e) => e.kind !== "state")).toMatchObject([
    { message: { kind: "execution_start", promptId: "p" } },
    { frame: { kind: "preview", imageType: "png" } },
    { message: { kind: "unparsable" } },
  ]);
  expect(socket.silentForMs()).toBeLessThan(1_000);
});

test("the first thing it says is which features it knows", async () => {
  const first = new Promise<string>((resolve) => {
    const poll = fake.sockets.push.bind(fake.sockets);
    fake.sockets.push = (...added) => {
      added[0]?.once("message", (data: Buffer) => resolve(data.toString()));
      return poll(...added);
    };
  });
  open();
  expect(JSON.parse(await first)).toEqual({
    type: "feature_flags",
    data: { supports_preview_metadata: true },
  });
});

test("after a cut it comes back, and never has two connections at once", async () => {
  open();
  for (let round = 0; round < 4; round += 1) {
    const server = await serverSide(round);
    expect(fake.sockets.filter((s) => s.readyState === s.OPEN)).toHaveLength(1);
    server.terminate();
  }
  await serverSide(4);
  expect(states()).toEqual(
    Array.from({ length: 5 }, () => ["connecting", "open", "closed"])
      .flat()
      .slice(0, -1),
  );
});

test("a suspected socket is closed first and reopened only after its end", async () => {
  open();
  const server = await serverSide(0);
  const closed = once(server, "close");
  socket.reconnect("deaf");
  const [code, reason] = (await closed) as [number, Buffer];
  expect([code, reason.toString()]).toEqual([1000, "deaf"]);
  await serverSide(1);
  expect(states()).toEqual(["connecting", "open", "closed", "connecting", "open"]);
});

test("a peer that answers no ping is dropped", async () => {
  open({ pingEveryMs: 20, deadAfterMs: 60 });
  const server = await serverSide(0);
  // A paused stream reads no ping, so no pong is written.
  server.pause();
  await until(() => states().filter((s) => s === "open").length === 2);
  expect(states().slice(0, 3)).toEqual(["connecting", "open", "closed"]);
});

test("a peer that answers pings is kept, however silent", async () => {
  open({ pingEveryMs: 10, deadAfterMs: 80 });
  const server = await serverSide(0);
  let pings = 0;
  await new Promise<void>((resolve) => {
    server.on("ping", () => {
      pings += 1;
      if (pings === 15) resolve();
    });
  });
  expect(states()).toEqual(["connecting", "open"]);
});

test("a frame larger than allowed ends the connection, not the process", async () => {
  open({ maxFrameBytes: 1_000 });
  (await serverSide(0)).send("x".repeat(5_000));
  await serverSide(1);
  expect(events.find((e) => e.kind === "state" && e.state === "closed")).toMatchObject({
    code: 1006,
    reason: expect.stringContaining("Max payload"),
  });
});

test("it keeps trying while nobody listens, and stops when told", async () => {
  const { url } = fake;
  await fake.close();
  open({ baseUrl: url });
  await until(() => states().filter((s) => s === "closed").length === 3);
  expect(states()).not.toContain("open");
  await socket.stop();
  const count = events.length;
  await socket.stop();
  expect(events).toHaveLength(count);
  expect(socket.state()).toBe("closed");
  fake = await startFakeComfy();
});

test("stopping while it connects or before it starts leaves nothing", async () => {
  open();
  await socket.stop();
  expect(states()).toEqual(["connecting", "closed"]);
  const idle = createComfySocket({
    baseUrl: fake.url,
    clientId: "x",
    clock: systemClock,
    onEvent: () => undefined,
  });
  await idle.stop();
  expect(idle.state()).toBe("closed");
});

test("it waits the whole pause after an end, so that ComfyUI has forgotten the old socket", async () => {
  const clock = createFakeClock();
  open({ clock, settleMs: 500 });
  (await serverSide(0)).terminate();
  await until(() => states().includes("closed"));
  await clock.advance(499);
  expect(states()).toEqual(["connecting", "open", "closed"]);
  await clock.advance(1);
  expect(states().at(-1)).toBe("connecting");
  await serverSide(1);
});

test("silence is measured from the last message, not from the last pong", async () => {
  const clock = createFakeClock();
  open({ clock, pingEveryMs: 1_000, deadAfterMs: 1_000_000 });
  const server = await serverSide(0);
  server.send('{"type":"status","data":{}}');
  await until(() => events.some((event) => event.kind === "message"));
  const pinged = once(server, "ping");
  await clock.advance(5_000);
  await pinged;
  expect(socket.silentForMs()).toBe(5_000);
});
