import { createServer, type Server } from "node:http";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { askHealth } from "./ask-health.ts";

let folder = "";
let file = "";
let server: Server;
let url = "";
let status = 200;
let asked: (string | undefined)[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-ask-"));
  file = join(folder, "health.json");
  status = 200;
  asked = [];
  server = createServer((request, response) => {
    asked.push(`${request.url} ${request.headers.authorization ?? "-"}`);
    response.writeHead(status, { "content-type": "application/json" });
    response.end(
      JSON.stringify(request.url === "/health" ? { state: "healthy" } : { services: [] }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  await new Promise((resolve) => server.close(resolve));
  await rm(folder, { recursive: true });
});
const leave = (pid: number): Promise<void> => writeFile(file, JSON.stringify({ url, pid }));
/** No process has this number: the kernel's limit is below it. */
const GONE = 2 ** 30;

test("an agent that answers is told as it answers", async () => {
  await leave(process.pid);
  expect(await askHealth(file, null)).toEqual({
    kind: "answers",
    url,
    health: { state: "healthy" },
    services: [],
  });
  expect(new Set(asked)).toEqual(new Set(["/health -", "/services -"]));
});

test("the token of a guarded one is sent", async () => {
  await leave(process.pid);
  const tokenFile = join(folder, "token");
  await writeFile(tokenFile, " secret-of-16-chars \n");
  expect((await askHealth(file, tokenFile)).kind).toBe("answers");
  expect(asked[0]).toContain("Bearer secret-of-16-chars");
});

test("without an address there is no agent; of a killed one neither", async () => {
  expect(await askHealth(file, null)).toEqual({ kind: "none" });
  await leave(GONE);
  status = 500;
  expect(await askHealth(file, null)).toEqual({ kind: "none" });
});

test.each([
  [401, /asks for its token: name the file by HOLDFAST_HEALTH_TOKEN_FILE/],
  [500, /HTTP 500/],
])("one that answers %i runs, and why it tells nothing is said", async (code, reason) => {
  await leave(process.pid);
  status = code;
  const sight = await askHealth(file, null);
  expect(sight).toMatchObject({ kind: "silent", pid: process.pid });
  expect("reason" in sight ? sight.reason : "").toMatch(reason);
});

test("one whose port is closed, or whose token cannot be read, is told as silent", async () => {
  await leave(process.pid);
  const unread = await askHealth(file, join(folder, "no-token"));
  expect("reason" in unread ? unread.reason : "").toContain("no-token");
  url = "http://127.0.0.1:1";
  await leave(process.pid);
  expect((await askHealth(file, null)).kind).toBe("silent");
});
