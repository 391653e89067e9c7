import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  content,
  serveFile,
  startFileServer,
  type FileServer,
} from "../../../testing/file-server.ts";
import type { DownloadSource, Opened } from "./download-source.ts";
import { createDownloadSource } from "./http-source.ts";
import type { HostAuth } from "./request-route.ts";

const FILE = content(100);
let near: FileServer;
let far: FileServer;
let folder: string;
const sources: DownloadSource[] = [];

beforeEach(async () => {
  near = await startFileServer();
  far = await startFileServer();
  folder = await mkdtemp(join(tmpdir(), "hf-source-"));
  await writeFile(join(folder, "token"), "s3cret\n");
  far.on("/x", serveFile(FILE.bytes));
  near.on("/x", serveFile(FILE.bytes));
  near.on("/far", (_, response) => void response.writeHead(302, { location: far.url("/x") }).end());
});
afterEach(async () => {
  await Promise.all(sources.splice(0).map((source) => source.close()));
  await near.close();
  await far.close();
  await rm(folder, { recursive: true });
});

function sourceWith(auth: readonly Partial<HostAuth>[] = []): DownloadSource {
  const usual = { tokenFile: join(folder, "token"), header: "Authorization", scheme: "Bearer" };
  const source = createDownloadSource({
    auth: auth.map((entry) => ({ host: near.host, ...usual, ...entry })),
  });
  sources.push(source);
  return source;
}

async function open(source: DownloadSource, url: string): Promise<Opened> {
  const { signal } = new AbortController();
  const opened = await source.open(url, { plan: { kind: "whole" }, signal });
  if (opened.kind === "answered") await opened.cancel();
  return opened;
}

const probe = (source: DownloadSource, url: string, licence: string | null = null) =>
  source.probe(url, licence, new AbortController().signal);

test("a token goes to its host, and is dropped at another one", async () => {
  const opened = await open(sourceWith([{}]), near.url("/far"));
  expect(opened).toMatchObject({ kind: "answered", status: 200 });
  expect(near.seen[0]?.headers.authorization).toBe("Bearer s3cret");
  expect(far.seen).toHaveLength(1);
  expect(far.seen[0]?.headers.authorization).toBeUndefined();
});

test("after a redirect each host gets its own token alone", async () => {
  await writeFile(join(folder, "other"), "other");
  const auth = [
    {},
    { host: far.host, tokenFile: join(folder, "other"), header: "X-Key", scheme: "" },
  ];
  await open(sourceWith(auth), near.url("/far"));
  expect(near.seen[0]?.headers["x-key"]).toBeUndefined();
  expect(far.seen[0]?.headers["x-key"]).toBe("other");
  expect(far.seen[0]?.headers.authorization).toBeUndefined();
});

test("a user in the URL is sent as such, to that host alone", async () => {
  await open(sourceWith(), near.url("/far").replace("http://", "http://me:p%40ss@"));
  const basic = `Basic ${Buffer.from("me:p@ss").toString("base64")}`;
  expect(near.seen[0]?.headers.authorization).toBe(basic);
  expect(far.seen[0]?.headers.authorization).toBeUndefined();
});

test("a redirect in a circle ends", async () => {
  near.on("/circle", (_, response) => void response.writeHead(302, { location: "/circle" }).end());
  expect(await open(sourceWith(), near.url("/circle"))).toMatchObject({
    kind: "failed",
    failure: { kind: "redirect_refused" },
  });
  expect(near.seen.length).toBe(11);
});

test("a redirect does not lead to a file of this machine", async () => {
  const secret = pathToFileURL(join(folder, "token")).href;
  near.on("/x", (_, response) => void response.writeHead(302, { location: secret }).end());
  expect((await open(sourceWith(), near.url("/x"))).kind).toBe("failed");
});

test.each([
  ["missing", null, "cannot be read"],
  ["empty", " \n", "is empty"],
  ["with several lines", "a\nb", "something else than one token"],
])("a token file that is %s is told before anything is sent", async (_, text, message) => {
  await rm(join(folder, "token"));
  if (text !== null) await writeFile(join(folder, "token"), text);
  const opened = await open(sourceWith([{}]), near.url("/x"));
  if (opened.kind !== "failed") throw new Error("it did not fail");
  expect(opened.failure.kind).toBe("token_file");
  expect(opened.failure.message).toContain(message);
  expect(near.seen).toEqual([]);
});

test("a failure shows neither the query nor the user of a URL", async () => {
  await far.close();
  const opened = await open(sourceWith(), far.url("/x?sig=s3cret").replace("://", "://me:pass@"));
  if (opened.kind !== "failed") throw new Error("it did not fail");
  expect(opened.failure.kind).toBe("unreachable");
  expect(JSON.stringify(opened.failure)).not.toMatch(/s3cret|pass/);
  far = await startFileServer();
});

test("what is no URL is told without repeating it", async () => {
  expect(await open(sourceWith(), "http://[s3cret")).toMatchObject({
    failure: { kind: "bad_url" },
  });
});

test("a probe asks for the head alone", async () => {
  expect(await probe(sourceWith(), near.url("/x"))).toEqual({ sizeBytes: 100, failure: null });
  expect(near.seen.map(({ method }) => method)).toEqual(["HEAD"]);
});

test.each([405, 403, 501])("where a head is answered %i, one byte is asked for", async (status) => {
  near.on("/x", (request, response, seen) => {
    if (request.method === "HEAD") response.writeHead(status).end();
    else void serveFile(FILE.bytes)(request, response, seen);
  });
  expect(await probe(sourceWith(), near.url("/x"))).toEqual({ sizeBytes: 100, failure: null });
  expect(near.seen[1]?.headers.range).toBe("bytes=0-0");
});

test("a probe tells a size of nobody knows how much, an empty file, and what is refused", async () => {
  near.on("/x", (request, response) => {
    response.writeHead(200);
    if (request.method === "HEAD") response.end();
    else response.write("x");
  });
  expect(await probe(sourceWith(), near.url("/x"))).toEqual({ sizeBytes: null, failure: null });
  near.on("/x", (request, response) => {
    if (request.method === "HEAD") response.writeHead(404).end();
    else response.writeHead(416, { "content-range": "bytes */0" }).end();
  });
  expect(await probe(sourceWith(), near.url("/x"))).toEqual({ sizeBytes: 0, failure: null });
  near.on("/x", (_, response) => void response.writeHead(401).end());
  const refused = await probe(sourceWith(), near.url("/x"), "FLUX");
  expect(refused.failure).toMatchObject({ kind: "gated" });
  expect(refused.failure?.advice).toContain("Accept the licence FLUX");
});

test("a probe of a file:// URL looks at the file", async () => {
  const url = pathToFileURL(join(folder, "token")).href;
  expect(await probe(sourceWith(), url)).toEqual({ sizeBytes: 7, failure: null });
  expect((await probe(sourceWith(), `${url}x`)).failure).toMatchObject({ kind: "not_found" });
});

test("an abort ends a request with its reason", async () => {
  near.on("/x", () => undefined);
  const abort = new AbortController();
  const reason = new Error("stop");
  const { signal } = abort;
  const running = sourceWith().open(near.url("/x"), { plan: { kind: "whole" }, signal });
  while (near.seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  abort.abort(reason);
  await expect(running).rejects.toBe(reason);
});
