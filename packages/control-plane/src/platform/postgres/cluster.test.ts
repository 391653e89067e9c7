import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { boundLog, freePort, logTail } from "./cluster.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-cluster-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("the server's log", () => {
  test("within its bound it is left alone, over it the end is kept beside and it starts anew", async () => {
    const file = join(folder, "postgres.log");
    await writeFile(file, "x".repeat(1_000));
    await boundLog(file, 1_000);
    expect((await stat(file)).size).toBe(1_000);
    await writeFile(file, `${"x".repeat(1_000)}the end`);
    await boundLog(file, 1_000);
    expect((await stat(file)).size).toBe(0);
    const kept = await readFile(`${file}.old`, "utf8");
    expect(kept).toHaveLength(250);
    expect(kept.endsWith("the end")).toBe(true);
  });

  test("one that is not there is no failure", async () => {
    await boundLog(join(folder, "none.log"), 10);
    expect(await logTail(join(folder, "none.log"))).toBe("");
  });
});

describe("the port", () => {
  const listen = (): Promise<{ server: Server; port: number }> =>
    new Promise((resolve) => {
      const server = createServer();
      server.listen(0, "127.0.0.1", () => {
        const address = server.address();
        resolve({ server, port: typeof address === "object" ? (address?.port ?? 0) : 0 });
      });
    });
  const close = (server: Server): Promise<void> =>
    new Promise((resolve) => server.close(() => resolve()));

  test("a wanted port is taken when it is free, and another when it is not", async () => {
    const { server, port } = await listen();
    expect(await freePort(port)).not.toBe(port);
    await close(server);
    expect(await freePort(port)).toBe(port);
    expect(await freePort(undefined)).toBeGreaterThan(1_023);
  });
});
