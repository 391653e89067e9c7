import { seededRandom, type Clock } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { existsSync } from "node:fs";
import {
  mkdtemp,
  mkdir,
  readdir,
  readFile,
  open,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
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
import { downloadFile, type DownloadOutcome, type DownloadRequest } from "./download.ts";
import type { DownloadSource } from "./download-source.ts";
import { createDownloadSource } from "./http-source.ts";
import type { OpenPart } from "./part-writer.ts";

const FILE = content(3 * 1024 * 1024 + 17);
const OTHER = content(3 * 1024 * 1024 + 17, 2);
let server: FileServer;
let source: DownloadSource;
let root: string;
let notes: string[];

beforeEach(async () => {
  server = await startFileServer();
  source = createDownloadSource({ auth: [] });
  root = await mkdtemp(join(tmpdir(), "hf-models-"));
  await mkdir(join(root, "checkpoints"));
  notes = [];
});
afterEach(async () => {
  await source.close();
  await server.close();
  await rm(root, { recursive: true, force: true });
});

const target = (): string => join(root, "checkpoints", "x.safetensors");
const partial = (): string => join(root, ".holdfast-partial");
const part = (sha256 = FILE.sha256): string => join(partial(), `${sha256}.part`);

interface How extends Partial<DownloadRequest> {
  readonly clock?: Clock;
  readonly openPart?: OpenPart;
  readonly tries?: number;
  readonly signal?: AbortSignal;
}

/** Retries at once, unless a test brings a clock. */
const hasty: Clock = {
  ...systemClock,
  sleep: (ms, signal) => systemClock.sleep(ms > 1_000 ? ms : 0, signal),
};

async function fetchIt(how: How = {}): Promise<DownloadOutcome> {
  const { clock = hasty, openPart, tries = 8, signal, ...request } = how;
  return await downloadFile(
    {
      url: server.url("/x"),
      sha256: FILE.sha256,
      sizeBytes: null,
      licence: null,
      target: target(),
      partialFolder: partial(),
      mayReplace: () => false,
      ...request,
    },
    {
      source,
      clock,
      random: seededRandom(1),
      ...(openPart === undefined ? {} : { openPart }),
      limits: {
        tries,
        stallMs: 60_000,
        backoff: { initialMs: 100, factor: 1, maxMs: 100, jitter: 0 },
      },
      onNote: (line) => notes.push(line),
    },
    signal ?? new AbortController().signal,
  );
}

/** Leaves a part as an earlier run would. */
async function keep(bytes: Buffer, record: Record<string, unknown> = {}, sha256 = FILE.sha256) {
  await mkdir(partial(), { recursive: true });
  await writeFile(part(sha256), bytes);
  const whole = { url: server.url("/x"), etag: null, lastModified: null, totalBytes: null };
  await writeFile(join(partial(), `${sha256}.json`), JSON.stringify({ ...whole, ...record }));
}

async function expectFile(): Promise<void> {
  expect((await readFile(target())).equals(FILE.bytes)).toBe(true);
  expect(await readdir(partial())).toEqual([]);
}

function failureOf(outcome: DownloadOutcome) {
  if (outcome.kind !== "failed") throw new Error("it did not fail");
  expect(existsSync(target())).toBe(false);
  return outcome.failure;
}

/** Lets a fake clock run while a download goes on over real sockets. */
async function untilAsleep(clock: FakeClock, sleepers: number): Promise<void> {
  while (clock.sleeperCount() < sleepers) await systemClock.sleep(2);
}

async function untilNoted(count: number): Promise<void> {
  while (notes.length < count) await systemClock.sleep(2);
}

test("a file is fetched whole, with its right name and no part left", async () => {
  server.on("/x", serveFile(FILE.bytes, { etag: '"1"' }));
  expect(await fetchIt()).toEqual({
    kind: "fetched",
    sizeBytes: FILE.bytes.length,
    receivedBytes: FILE.bytes.length,
  });
  await expectFile();
  expect(server.seen[0]?.headers["accept-encoding"]).toBe("identity");
  expect(server.seen[0]?.headers.range).toBeUndefined();
});

test("an empty file is a file", async () => {
  const empty = content(0);
  server.on("/x", serveFile(empty.bytes));
  expect(await fetchIt({ sha256: empty.sha256 })).toMatchObject({ kind: "fetched", sizeBytes: 0 });
  expect((await stat(target())).size).toBe(0);
});

test("a broken connection is gone on from where it broke, and the hash with it", async () => {
  const cuts = [1_000_000, 700_001, 1];
  server.on("/x", serveFile(FILE.bytes, { etag: '"1"', cutAfter: () => cuts.shift() }));
  const outcome = await fetchIt();
  await expectFile();
  // A byte that was received twice would make this more.
  expect(outcome).toMatchObject({ kind: "fetched", receivedBytes: FILE.bytes.length });
  expect(server.seen.map(({ headers }) => headers.range ?? "whole")).toEqual([
    "whole",
    "bytes=1000000-",
    "bytes=1700001-",
    "bytes=1700002-",
  ]);
  expect(server.seen[1]?.headers["if-range"]).toBe('"1"');
});

test("what an earlier run kept is hashed from the disk and not fetched again", async () => {
  await keep(FILE.bytes.subarray(0, 2_000_000), { etag: '"1"' });
  server.on("/x", serveFile(FILE.bytes, { etag: '"1"' }));
  expect(await fetchIt()).toMatchObject({
    kind: "fetched",
    receivedBytes: FILE.bytes.length - 2_000_000,
  });
  await expectFile();
});

test("a file that changed on the server is fetched anew, file and hash", async () => {
  await keep(OTHER.bytes.subarray(0, 2_000_000), { etag: '"old"' });
  server.on("/x", serveFile(FILE.bytes, { etag: '"new"' }));
  expect(await fetchIt()).toMatchObject({ receivedBytes: FILE.bytes.length });
  await expectFile();
  expect(server.seen[0]?.headers["if-range"]).toBe('"old"');
});

test("a server without ranges is fetched from the beginning", async () => {
  await keep(FILE.bytes.subarray(0, 2_000_000));
  server.on("/x", (_, response) => void response.end(FILE.bytes));
  expect(await fetchIt()).toMatchObject({ receivedBytes: FILE.bytes.length });
  await expectFile();
});

test("a kept part that is not the file's is found out by the hash, and fetched anew once", async () => {
  await keep(OTHER.bytes.subarray(0, 2_000_000));
  server.on("/x", serveFile(FILE.bytes));
  expect(await fetchIt()).toMatchObject({ kind: "fetched" });
  await expectFile();
  expect(server.seen.map(({ headers }) => headers.range)).toEqual(["bytes=2000000-", undefined]);
});

test("another url goes on with the same bytes, and without the old one's validators", async () => {
  await keep(FILE.bytes.subarray(0, 2_000_000), { url: "http://elsewhere/x", etag: '"old"' });
  server.on("/x", serveFile(FILE.bytes, { etag: '"new"' }));
  expect(await fetchIt()).toMatchObject({ receivedBytes: FILE.bytes.length - 2_000_000 });
  expect(server.seen[0]?.headers["if-range"]).toBeUndefined();
  await expectFile();
});

test("a part that is complete is not asked for again when its size is known", async () => {
  await keep(FILE.bytes, { totalBytes: FILE.bytes.length });
  expect(await fetchIt()).toMatchObject({ kind: "fetched", receivedBytes: 0 });
  expect(server.seen).toEqual([]);
  await expectFile();
});

test("416 for a complete part of unknown size is the end of it", async () => {
  await keep(FILE.bytes);
  server.on("/x", serveFile(FILE.bytes));
  expect(await fetchIt()).toMatchObject({ kind: "fetched", receivedBytes: 0 });
  await expectFile();
});

test("416 for a part that is too long makes it begin anew", async () => {
  await keep(Buffer.concat([FILE.bytes, Buffer.from("too much")]));
  server.on("/x", serveFile(FILE.bytes));
  expect(await fetchIt()).toMatchObject({ receivedBytes: FILE.bytes.length });
  await expectFile();
});

test("bytes from elsewhere in the file are refused, and the whole is fetched instead", async () => {
  await keep(FILE.bytes.subarray(0, 2_000_000));
  server.on("/x", (request, response) => {
    if (request.headers.range === undefined) {
      response.end(FILE.bytes);
      return;
    }
    const total = FILE.bytes.length;
    const range = `bytes 1999999-${total - 1}/${total}`;
    response.writeHead(206, { "content-range": range }).end(FILE.bytes.subarray(1_999_999));
  });
  expect(await fetchIt()).toMatchObject({ kind: "fetched", receivedBytes: FILE.bytes.length });
  await expectFile();
  expect(notes.join()).toContain("bytes from 2000000 on were asked for");
});

test("a server that breaks off and then sends other ranges is given up", async () => {
  server.on("/x", (request, response) => {
    const total = FILE.bytes.length;
    if (request.headers.range === undefined) {
      response.writeHead(200, { "content-length": total });
      response.write(FILE.bytes.subarray(0, 1_500_000), () => response.destroy());
      return;
    }
    response.writeHead(206, { "content-range": `bytes 0-9/${total}` }).end("0123456789");
  });
  expect(failureOf(await fetchIt({ tries: 3 })).kind).toBe("wrong_range");
  expect(server.seen.length).toBeLessThan(8);
});

test("a part that was not asked for is refused", async () => {
  server.on("/x", (_, response) => {
    const headers = { "content-range": `bytes 0-9/${FILE.bytes.length}` };
    response.writeHead(206, headers).end(FILE.bytes.subarray(0, 10));
  });
  expect(failureOf(await fetchIt()).kind).toBe("wrong_range");
});

test("a shorter part than was asked for is taken, and the rest asked for", async () => {
  server.on("/x", (request, response) => {
    const from = Number(/\d+/.exec(request.headers.range ?? "0")?.[0]);
    const end = Math.min(from + 1_500_000, FILE.bytes.length);
    const total = FILE.bytes.length;
    if (request.headers.range === undefined) {
      response.writeHead(200, { "content-length": total });
      response.write(FILE.bytes.subarray(0, 1_000_000), () => response.destroy());
      return;
    }
    response.writeHead(206, { "content-range": `bytes ${from}-${end - 1}/${total}` });
    response.end(FILE.bytes.subarray(from, end));
  });
  expect(await fetchIt()).toMatchObject({ receivedBytes: FILE.bytes.length });
  await expectFile();
});

test("an encoded body is refused", async () => {
  server.on("/x", (_, response) => {
    response.writeHead(200, { "content-encoding": "gzip" }).end("x");
  });
  expect(failureOf(await fetchIt())).toMatchObject({ kind: "bad_answer", isTransient: false });
});

test("a login page is told as one, and does not cost the part that is kept", async () => {
  await keep(FILE.bytes.subarray(0, 2_000_000));
  server.on("/x", (_, response) => {
    response.writeHead(200, { "content-type": "text/html" });
    response.end("\n<!DOCTYPE html><title>Log in</title>");
  });
  const failure = failureOf(await fetchIt());
  expect(failure).toMatchObject({ kind: "web_page", isTransient: false });
  expect(failure.message).toContain("it may want a login");
  expect((await stat(part())).size).toBe(2_000_000);
});

test.each([
  [401, "gated"],
  [403, "gated"],
  [404, "not_found"],
  [410, "not_found"],
  [400, "bad_answer"],
])("%i is %s, at once", async (status, kind) => {
  server.on("/x", (_, response) => void response.writeHead(status).end());
  expect(failureOf(await fetchIt()).kind).toBe(kind);
  expect(server.seen).toHaveLength(1);
});

test("a gated file names the licence and where a token belongs", async () => {
  server.on("/x", (_, response) => void response.writeHead(403).end());
  const failure = failureOf(await fetchIt({ licence: "FLUX-1-dev (https://x/licence)" }));
  expect(failure.advice).toContain("Accept the licence FLUX-1-dev (https://x/licence)");
  expect(failure.advice).toContain(`name a token file for ${server.host} under downloads.auth`);
});

test("trouble of the server is waited out with a growing rest, and its wish is kept", async () => {
  const clock = createFakeClock();
  let asked = 0;
  server.on("/x", (request, response, seen) => {
    asked += 1;
    if (asked === 1) response.writeHead(503, { "retry-after": "7" }).end();
    else if (asked === 2) response.writeHead(502).end();
    else void serveFile(FILE.bytes)(request, response, seen);
  });
  const running = fetchIt({ clock });
  await untilNoted(1);
  await untilAsleep(clock, 1);
  await clock.advance(6_999);
  expect(asked).toBe(1);
  await clock.advance(1);
  await untilNoted(2);
  await untilAsleep(clock, 1);
  await clock.advance(100);
  expect(await running).toMatchObject({ kind: "fetched" });
  await expectFile();
});

test("tries that get no further come to an end", async () => {
  server.on("/x", (_, response) => void response.writeHead(500).end());
  expect(failureOf(await fetchIt({ tries: 3 }))).toMatchObject({ kind: "server_trouble" });
  expect(server.seen).toHaveLength(3);
});

test("tries that get further are not counted", async () => {
  server.on("/x", serveFile(FILE.bytes, { cutAfter: () => 1_100_000 }));
  expect(await fetchIt({ tries: 2 })).toMatchObject({ kind: "fetched" });
  await expectFile();
});

test("a server that begins anew each time and breaks is given up", async () => {
  server.on("/x", (_, response) => {
    response.writeHead(200, { "content-length": FILE.bytes.length });
    response.write(FILE.bytes.subarray(0, 1_500_000), () => response.destroy());
  });
  expect(failureOf(await fetchIt({ tries: 3 })).isTransient).toBe(true);
  expect(server.seen.length).toBeLessThan(6);
});

test("nobody there is told with the address", async () => {
  const gone = await startFileServer();
  await gone.close();
  const failure = failureOf(await fetchIt({ url: gone.url("/x"), tries: 2 }));
  expect(failure.kind).toBe("unreachable");
  expect(failure.message).toContain(`${gone.url("/x")} failed`);
});

test("silence is a stall after a minute without a byte, and the next try goes on", async () => {
  const clock = createFakeClock();
  let isFirst = true;
  server.on("/x", async (request, response, seen) => {
    if (!isFirst) {
      await serveFile(FILE.bytes)(request, response, seen);
      return;
    }
    isFirst = false;
    response.writeHead(200, { "content-length": FILE.bytes.length });
    response.write(FILE.bytes.subarray(0, 1_000_000));
  });
  const running = fetchIt({ clock });
  await untilAsleep(clock, 1);
  while (!existsSync(part()) || (await stat(part())).size < 1_000_000) await systemClock.sleep(2);
  await clock.advance(59_999);
  await systemClock.sleep(10);
  expect(server.seen).toHaveLength(1);
  await clock.advance(60_000);
  await untilNoted(1);
  expect(notes[0]).toContain("no byte came for 60 s");
  await untilAsleep(clock, 1);
  await clock.advance(100);
  expect(await running).toMatchObject({ kind: "fetched", receivedBytes: FILE.bytes.length });
  await expectFile();
});

test("a server that never answers is a stall too", async () => {
  const clock = createFakeClock();
  server.on("/x", () => undefined);
  const running = fetchIt({ clock, tries: 1 });
  await untilAsleep(clock, 1);
  while (server.seen.length === 0) await systemClock.sleep(2);
  await clock.advance(60_000);
  expect(failureOf(await running).kind).toBe("stalled");
});

test("a wrong hash tells both, and leaves nothing in place or to go on from", async () => {
  server.on("/x", serveFile(OTHER.bytes));
  const failure = failureOf(await fetchIt());
  expect(failure.kind).toBe("wrong_hash");
  expect(failure.message).toContain(FILE.sha256);
  expect(failure.message).toContain(OTHER.sha256);
  expect(await readdir(partial())).toEqual([]);
  expect(server.seen).toHaveLength(1);
});

test("another size than the manifest's is refused before anything is fetched", async () => {
  server.on("/x", serveFile(FILE.bytes));
  const failure = failureOf(await fetchIt({ sizeBytes: 5 }));
  expect(failure).toMatchObject({ kind: "wrong_size", isTransient: false });
  expect(failure.message).toContain("expected 5 bytes");
});

test("a server that sends more than there should be is cut off", async () => {
  let sent = 0;
  server.on("/x", (_, response) => {
    response.writeHead(200, { "content-type": "application/octet-stream" });
    const more = (): void => {
      if (response.destroyed || sent > 50_000_000) return;
      sent += 100_000;
      response.write(Buffer.alloc(100_000), more);
    };
    more();
  });
  expect(failureOf(await fetchIt({ sizeBytes: FILE.bytes.length })).kind).toBe("wrong_size");
  expect((await stat(part())).size).toBeLessThanOrEqual(FILE.bytes.length);
});

test("a full disk is told as one, and what fitted is kept for the next run", async () => {
  server.on("/x", serveFile(FILE.bytes));
  let left = 1_500_000;
  const full: OpenPart = async (path) => {
    const handle = await open(path, "w+");
    return {
      read: handle.read.bind(handle),
      truncate: handle.truncate.bind(handle),
      stat: handle.stat.bind(handle),
      sync: handle.sync.bind(handle),
      close: handle.close.bind(handle),
      writev: (async (chunks: Uint8Array[], position: number) => {
        if (left === 0) throw Object.assign(new Error("ENOSPC: no space"), { code: "ENOSPC" });
        // As a real disk does it: the last write is a short one.
        const bytes = Buffer.concat(chunks).subarray(0, left);
        left -= bytes.length;
        const { bytesWritten } = await handle.write(bytes, 0, bytes.length, position);
        return { bytesWritten, buffers: chunks };
      }) as typeof handle.writev,
    };
  };
  expect(failureOf(await fetchIt({ openPart: full }))).toMatchObject({
    kind: "disk_full",
    isTransient: false,
  });
  expect((await stat(part())).size).toBe(1_500_000);
  expect(await fetchIt()).toMatchObject({ receivedBytes: FILE.bytes.length - 1_500_000 });
  await expectFile();
});

test("a file that came to the name meanwhile is left", async () => {
  server.on("/x", serveFile(FILE.bytes));
  await writeFile(target(), "somebody's");
  expect(await fetchIt()).toMatchObject({ kind: "failed", failure: { kind: "target_taken" } });
  expect(await readFile(target(), "utf8")).toBe("somebody's");
  expect(await fetchIt({ mayReplace: () => true })).toMatchObject({ receivedBytes: 0 });
  await expectFile();
});

test("an abort ends it at once with its reason, and keeps what came", async () => {
  const abort = new AbortController();
  const reason = new Error("the operator said stop");
  server.on("/x", (_, response) => {
    response.writeHead(200, { "content-length": FILE.bytes.length });
    response.write(FILE.bytes.subarray(0, 1_000_000));
  });
  const running = fetchIt({ signal: abort.signal });
  while (!existsSync(part()) || (await stat(part())).size < 1_000_000) await systemClock.sleep(2);
  abort.abort(reason);
  await expect(running).rejects.toBe(reason);
  expect((await stat(part())).size).toBe(1_000_000);
});

test("a file:// URL is fetched, gone on with, and told when it is not there", async () => {
  const path = join(root, "origin of all.bin");
  await writeFile(path, FILE.bytes);
  const url = pathToFileURL(path).href;
  await keep(FILE.bytes.subarray(0, 2_000_000), { url });
  expect(await fetchIt({ url })).toMatchObject({ receivedBytes: FILE.bytes.length - 2_000_000 });
  await expectFile();
  await rm(target());
  await keep(FILE.bytes, { url });
  expect(await fetchIt({ url })).toMatchObject({ receivedBytes: 0 });
  await rm(target());
  expect(failureOf(await fetchIt({ url: `${url}.not` })).kind).toBe("not_found");
  expect(failureOf(await fetchIt({ url: pathToFileURL(root).href })).kind).toBe("bad_url");
});

test("a link in the place of the part is not followed", async () => {
  server.on("/x", serveFile(FILE.bytes));
  await mkdir(partial());
  await writeFile(join(root, "victim"), "precious");
  await symlink(join(root, "victim"), part());
  expect(failureOf(await fetchIt()).kind).toBe("disk_trouble");
  expect(await readFile(join(root, "victim"), "utf8")).toBe("precious");
});
