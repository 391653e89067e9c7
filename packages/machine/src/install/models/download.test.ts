import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock } from "@holdfast/runtime/testing";
import { existsSync } from "node:fs";
import { mkdir, open, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { DownloadKit, FILE } from "../../../testing/download-kit.ts";
import { content, serveFile, startFileServer } from "../../../testing/file-server.ts";
import type { OpenPart } from "./part-writer.ts";

const OTHER = content(3 * 1024 * 1024 + 17, 2);
const kit = DownloadKit.forEachTest();

test("a file is fetched whole, with its right name and no part left", async () => {
  kit.server.on("/x", serveFile(FILE.bytes, { etag: '"1"' }));
  expect(await kit.fetch()).toEqual({
    kind: "fetched",
    sizeBytes: FILE.bytes.length,
    receivedBytes: FILE.bytes.length,
  });
  await kit.expectFile();
  expect(kit.server.seen[0]?.headers["accept-encoding"]).toBe("identity");
  expect(kit.server.seen[0]?.headers.range).toBeUndefined();
});

test("an empty file is a file", async () => {
  const empty = content(0);
  kit.server.on("/x", serveFile(empty.bytes));
  expect(await kit.fetch({ sha256: empty.sha256 })).toMatchObject({
    kind: "fetched",
    sizeBytes: 0,
  });
  expect((await stat(kit.target)).size).toBe(0);
});

test("a broken connection is gone on from where it broke, and the hash with it", async () => {
  const cuts = [1_000_000, 700_001, 1];
  kit.server.on("/x", serveFile(FILE.bytes, { etag: '"1"', cutAfter: () => cuts.shift() }));
  const outcome = await kit.fetch();
  await kit.expectFile();
  // A byte that was received twice would make this more.
  expect(outcome).toMatchObject({ kind: "fetched", receivedBytes: FILE.bytes.length });
  expect(kit.server.seen.map(({ headers }) => headers.range ?? "whole")).toEqual([
    "whole",
    "bytes=1000000-",
    "bytes=1700001-",
    "bytes=1700002-",
  ]);
  expect(kit.server.seen[1]?.headers["if-range"]).toBe('"1"');
});

test("what an earlier run kept is hashed from the disk and not fetched again", async () => {
  await kit.keep(FILE.bytes.subarray(0, 2_000_000), { etag: '"1"' });
  kit.server.on("/x", serveFile(FILE.bytes, { etag: '"1"' }));
  expect(await kit.fetch()).toMatchObject({
    kind: "fetched",
    receivedBytes: FILE.bytes.length - 2_000_000,
  });
  await kit.expectFile();
});

test("a file that changed on the server is fetched anew, file and hash", async () => {
  await kit.keep(OTHER.bytes.subarray(0, 2_000_000), { etag: '"old"' });
  kit.server.on("/x", serveFile(FILE.bytes, { etag: '"new"' }));
  expect(await kit.fetch()).toMatchObject({ receivedBytes: FILE.bytes.length });
  await kit.expectFile();
  expect(kit.server.seen[0]?.headers["if-range"]).toBe('"old"');
});

test("a server without ranges is fetched from the beginning", async () => {
  await kit.keep(FILE.bytes.subarray(0, 2_000_000));
  kit.server.on("/x", (_, response) => void response.end(FILE.bytes));
  expect(await kit.fetch()).toMatchObject({ receivedBytes: FILE.bytes.length });
  await kit.expectFile();
});

test("a kept part that is not the file's is found out by the hash, and fetched anew once", async () => {
  await kit.keep(OTHER.bytes.subarray(0, 2_000_000));
  kit.server.on("/x", serveFile(FILE.bytes));
  expect(await kit.fetch()).toMatchObject({ kind: "fetched" });
  await kit.expectFile();
  expect(kit.server.seen.map(({ headers }) => headers.range)).toEqual([
    "bytes=2000000-",
    undefined,
  ]);
});

test("another url goes on with the same bytes, and without the old one's validators", async () => {
  await kit.keep(FILE.bytes.subarray(0, 2_000_000), { url: "http://elsewhere/x", etag: '"old"' });
  kit.server.on("/x", serveFile(FILE.bytes, { etag: '"new"' }));
  expect(await kit.fetch()).toMatchObject({ receivedBytes: FILE.bytes.length - 2_000_000 });
  expect(kit.server.seen[0]?.headers["if-range"]).toBeUndefined();
  await kit.expectFile();
});

test("a part that is complete is not asked for again when its size is known", async () => {
  await kit.keep(FILE.bytes, { totalBytes: FILE.bytes.length });
  expect(await kit.fetch()).toMatchObject({ kind: "fetched", receivedBytes: 0 });
  expect(kit.server.seen).toEqual([]);
  await kit.expectFile();
});

test("tries that get no further come to an end", async () => {
  kit.server.on("/x", (_, response) => void response.writeHead(500).end());
  expect(kit.failureOf(await kit.fetch({ tries: 3 }))).toMatchObject({ kind: "server_trouble" });
  expect(kit.server.seen).toHaveLength(3);
});

test("tries that get further are not counted", async () => {
  kit.server.on("/x", serveFile(FILE.bytes, { cutAfter: () => 1_100_000 }));
  expect(await kit.fetch({ tries: 2 })).toMatchObject({ kind: "fetched" });
  await kit.expectFile();
});

test("a server that begins anew each time and breaks is given up", async () => {
  kit.server.on("/x", (_, response) => {
    response.writeHead(200, { "content-length": FILE.bytes.length });
    response.write(FILE.bytes.subarray(0, 1_500_000), () => response.destroy());
  });
  expect(kit.failureOf(await kit.fetch({ tries: 3 })).isTransient).toBe(true);
  expect(kit.server.seen.length).toBeLessThan(6);
});

test("nobody there is told with the address", async () => {
  const gone = await startFileServer();
  await gone.close();
  const failure = kit.failureOf(await kit.fetch({ url: gone.url("/x"), tries: 2 }));
  expect(failure.kind).toBe("unreachable");
  expect(failure.message).toContain(`${gone.url("/x")} failed`);
});

test("silence is a stall after a minute without a byte, and the next try goes on", async () => {
  const clock = createFakeClock();
  let isFirst = true;
  kit.server.on("/x", async (request, response, seen) => {
    if (!isFirst) {
      await serveFile(FILE.bytes)(request, response, seen);
      return;
    }
    isFirst = false;
    response.writeHead(200, { "content-length": FILE.bytes.length });
    response.write(FILE.bytes.subarray(0, 1_000_000));
  });
  const running = kit.fetch({ clock });
  await kit.untilAsleep(clock, 1);
  while (!existsSync(kit.part()) || (await stat(kit.part())).size < 1_000_000)
    await systemClock.sleep(2);
  await clock.advance(59_999);
  await systemClock.sleep(10);
  expect(kit.server.seen).toHaveLength(1);
  await clock.advance(60_000);
  await kit.untilNoted(1);
  expect(kit.notes[0]).toContain("no byte came for 60 s");
  await kit.untilAsleep(clock, 1);
  await clock.advance(100);
  expect(await running).toMatchObject({ kind: "fetched", receivedBytes: FILE.bytes.length });
  await kit.expectFile();
});

test("a server that never answers is a stall too", async () => {
  const clock = createFakeClock();
  kit.server.on("/x", () => undefined);
  const running = kit.fetch({ clock, tries: 1 });
  await kit.untilAsleep(clock, 1);
  while (kit.server.seen.length === 0) await systemClock.sleep(2);
  await clock.advance(60_000);
  expect(kit.failureOf(await running).kind).toBe("stalled");
});

test("a wrong hash tells both, and leaves nothing in place or to go on from", async () => {
  kit.server.on("/x", serveFile(OTHER.bytes));
  const failure = kit.failureOf(await kit.fetch());
  expect(failure.kind).toBe("wrong_hash");
  expect(failure.message).toContain(FILE.sha256);
  expect(failure.message).toContain(OTHER.sha256);
  expect(await readdir(kit.partial)).toEqual([]);
  expect(kit.server.seen).toHaveLength(1);
});

test("another size than the manifest's is refused before anything is fetched", async () => {
  kit.server.on("/x", serveFile(FILE.bytes));
  const failure = kit.failureOf(await kit.fetch({ sizeBytes: 5 }));
  expect(failure).toMatchObject({ kind: "wrong_size", isTransient: false });
  expect(failure.message).toContain("expected 5 bytes");
});

test("a server that sends more than there should be is cut off", async () => {
  let sent = 0;
  kit.server.on("/x", (_, response) => {
    response.writeHead(200, { "content-type": "application/octet-stream" });
    const more = (): void => {
      if (response.destroyed || sent > 50_000_000) return;
      sent += 100_000;
      response.write(Buffer.alloc(100_000), more);
    };
    more();
  });
  expect(kit.failureOf(await kit.fetch({ sizeBytes: FILE.bytes.length })).kind).toBe("wrong_size");
  expect((await stat(kit.part())).size).toBeLessThanOrEqual(FILE.bytes.length);
});

test("a full disk is told as one, and what fitted is kept for the next run", async () => {
  kit.server.on("/x", serveFile(FILE.bytes));
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
  expect(kit.failureOf(await kit.fetch({ openPart: full }))).toMatchObject({
    kind: "disk_full",
    isTransient: false,
  });
  expect((await stat(kit.part())).size).toBe(1_500_000);
  expect(await kit.fetch()).toMatchObject({ receivedBytes: FILE.bytes.length - 1_500_000 });
  await kit.expectFile();
});

test("a file that came to the name meanwhile is left", async () => {
  kit.server.on("/x", serveFile(FILE.bytes));
  await writeFile(kit.target, "somebody's");
  expect(await kit.fetch()).toMatchObject({ kind: "failed", failure: { kind: "target_taken" } });
  expect(await readFile(kit.target, "utf8")).toBe("somebody's");
  expect(await kit.fetch({ mayReplace: () => true })).toMatchObject({ receivedBytes: 0 });
  await kit.expectFile();
});

test("an abort ends it at once with its reason, and keeps what came", async () => {
  const abort = new AbortController();
  const reason = new Error("the operator said stop");
  kit.server.on("/x", (_, response) => {
    response.writeHead(200, { "content-length": FILE.bytes.length });
    response.write(FILE.bytes.subarray(0, 1_000_000));
  });
  const running = kit.fetch({ signal: abort.signal });
  while (!existsSync(kit.part()) || (await stat(kit.part())).size < 1_000_000)
    await systemClock.sleep(2);
  abort.abort(reason);
  await expect(running).rejects.toBe(reason);
  expect((await stat(kit.part())).size).toBe(1_000_000);
});

test("a file:// URL is fetched, gone on with, and told when it is not there", async () => {
  const path = join(kit.root, "origin of all.bin");
  await writeFile(path, FILE.bytes);
  const url = pathToFileURL(path).href;
  await kit.keep(FILE.bytes.subarray(0, 2_000_000), { url });
  expect(await kit.fetch({ url })).toMatchObject({ receivedBytes: FILE.bytes.length - 2_000_000 });
  await kit.expectFile();
  await rm(kit.target);
  await kit.keep(FILE.bytes, { url });
  expect(await kit.fetch({ url })).toMatchObject({ receivedBytes: 0 });
  await rm(kit.target);
  expect(kit.failureOf(await kit.fetch({ url: `${url}.not` })).kind).toBe("not_found");
  expect(kit.failureOf(await kit.fetch({ url: pathToFileURL(kit.root).href })).kind).toBe(
    "bad_url",
  );
});

test("a link in the place of the part is not followed", async () => {
  kit.server.on("/x", serveFile(FILE.bytes));
  await mkdir(kit.partial);
  await writeFile(join(kit.root, "victim"), "precious");
  await symlink(join(kit.root, "victim"), kit.part());
  expect(kit.failureOf(await kit.fetch()).kind).toBe("disk_trouble");
  expect(await readFile(join(kit.root, "victim"), "utf8")).toBe("precious");
});
