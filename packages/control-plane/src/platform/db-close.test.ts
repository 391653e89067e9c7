import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { seededRandom } from "@holdfast/runtime";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createDb, type PoolDb } from "./db.ts";
import type { Log } from "./log.ts";

/** A message of Postgres's protocol: type, length, body. */
function message(type: string, body: Buffer = Buffer.alloc(0)): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(body.length + 4);
  return Buffer.concat([Buffer.from(type), length, body]);
}
const READY = message("Z", Buffer.from("I"));
const SHUT_DOWN = message(
  "E",
  Buffer.from("SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"),
);

let server: Server;
let sockets: Socket[];
let warned: string[];
let lost: number;
let db: PoolDb;

/** Answers every query with nothing, and a goodbye with what a Postgres says that is shutting down. */
function serve(socket: Socket): void {
  sockets.push(socket);
  let isStarted = false;
  socket.on("error", () => undefined);
  socket.on("data", (data) => {
    if (!isStarted) {
      isStarted = true;
      socket.write(Buffer.concat([message("R", Buffer.alloc(4)), READY]));
    } else if (data[0] === "X".charCodeAt(0)) {
      setImmediate(() => socket.end(SHUT_DOWN));
    } else {
      socket.write(Buffer.concat([message("C", Buffer.from("SELECT 0\0")), READY]));
    }
  });
}

beforeEach(async () => {
  sockets = [];
  warned = [];
  lost = 0;
  server = createServer({ allowHalfOpen: true }, serve);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const silent = (): void => undefined;
  const log: Log = {
    debug: silent,
    info: silent,
    warn: (_, text) => void warned.push(text),
    error: silent,
    child: () => log,
  };
  db = createDb({
    target: { host: "127.0.0.1", port, user: "u", password: "p", database: "d" },
    applicationName: "test",
    clock: createFakeClock(),
    random: seededRandom(1),
    log,
    onConnectionLost: () => void (lost += 1),
  });
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

describe("a pool", () => {
  test("that is closed loses no connection: Postgres may end while they say goodbye", async () => {
    await Promise.all([db.query("select"), db.query("select")]);
    await db.close();
    expect(sockets.length).toBeGreaterThan(0);
    expect(sockets.every((socket) => socket.readableEnded || socket.destroyed)).toBe(true);
    expect({ warned, lost }).toEqual({ warned: [], lost: 0 });
  });

  test("in use tells of an idle connection that Postgres ends", async () => {
    await db.query("select");
    sockets[0]?.end(SHUT_DOWN);
    await expect.poll(() => warned).toEqual(["idle database connection lost"]);
    expect(lost).toBe(1);
    await db.close();
  });
});
