import { createHash } from "node:crypto";
import { closeSync, openSync } from "node:fs";
import { mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { blobStoreContract } from "../../testing/blob-store-contract.ts";
import { openFolderStore, type OpenFile } from "./folder-store.ts";
import type { BlobStore } from "./model.ts";

let path: string;
let store: BlobStore;
const ids = createIdSource(systemClock, seededRandom(7));
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), "holdfast-folder-store-"));
  store = await openFolderStore({ path, clock: systemClock, ids });
});
afterEach(() => rm(path, { recursive: true, force: true }));

const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
async function* chunks(bytes: Uint8Array, size = 1_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
const put = (bytes: Uint8Array, announced: { sha256?: string; sizeBytes?: number } = {}) =>
  store.put({ sha256: sha(bytes), sizeBytes: bytes.length, body: chunks(bytes), ...announced });
async function read(sha256: string, range?: { start: number; end: number }): Promise<Buffer> {
  const opened = await store.open(sha256, range);
  if (opened.kind !== "found") throw new Error(opened.kind);
  if (opened.body instanceof Uint8Array) return Buffer.from(opened.body);
  const parts: Uint8Array[] = [];
  for await (const part of opened.body) parts.push(part);
  return Buffer.concat(parts);
}
const leftovers = () => readdir(join(path, "tmp"));

describe("as every store", () => {
  blobStoreContract(() => store, { largeBytes: 300_000 });
});

test("what is stored is read back whole and in parts", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ minLength: 1, maxLength: 5_000 }),
      fc.nat(),
      async (bytes, n) => {
        expect(await put(bytes)).toEqual({ kind: "stored" });
        expect(await read(sha(bytes))).toEqual(Buffer.from(bytes));
        const start = n % bytes.length;
        expect(await read(sha(bytes), { start, end: bytes.length - 1 })).toEqual(
          Buffer.from(bytes.subarray(start)),
        );
      },
    ),
    { numRuns: 20 },
  );
  expect(await leftovers()).toEqual([]);
});

test("an empty blob is a blob", async () => {
  expect(await put(new Uint8Array())).toEqual({ kind: "stored" });
  expect(await store.has(sha(new Uint8Array()))).toEqual({ kind: "found", sizeBytes: 0 });
});

test("bytes that are not what was announced leave nothing behind", async () => {
  const bytes = Buffer.from("hello");
  const other = sha(Buffer.from("world"));
  expect(await put(bytes, { sha256: other })).toEqual({
    kind: "mismatch",
    sha256: sha(bytes),
    sizeBytes: 5,
  });
  expect(await put(bytes, { sizeBytes: 4 })).toMatchObject({ kind: "mismatch" });
  expect(await put(bytes, { sizeBytes: 6 })).toMatchObject({ kind: "mismatch", sizeBytes: 5 });
  expect(await store.has(other)).toEqual({ kind: "missing" });
  expect(await store.has(sha(bytes))).toEqual({ kind: "missing" });
  expect(await leftovers()).toEqual([]);
});

test("nothing can be seen of a blob until it is whole, and nothing stays of a broken upload", async () => {
  const bytes = Buffer.from("hello world");
  let goOn = (): void => undefined;
  const half = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  let reached = (): void => undefined;
  const isHalf = new Promise<void>((resolve) => {
    reached = resolve;
  });
  const storing = store.put({
    sha256: sha(bytes),
    sizeBytes: bytes.length,
    body: (async function* () {
      yield bytes.subarray(0, 5);
      reached();
      await half;
      throw new Error("the caller went away");
    })(),
  });
  await isHalf;
  expect(await store.has(sha(bytes))).toEqual({ kind: "missing" });
  goOn();
  await expect(storing).rejects.toThrow("the caller went away");
  expect(await leftovers()).toEqual([]);
  expect(await store.has(sha(bytes))).toEqual({ kind: "missing" });
});

test("the same bytes stored by many at once are one whole blob", async () => {
  const bytes = Buffer.alloc(100_000, "x");
  const results = await Promise.all(Array.from({ length: 8 }, () => put(bytes)));
  expect(new Set(results.map((result) => result.kind))).toEqual(new Set(["stored"]));
  expect(sha(await read(sha(bytes)))).toBe(sha(bytes));
});

test("a folder that went away is unavailable, not missing bytes, when writing", async () => {
  await rm(path, { recursive: true });
  expect(await put(Buffer.from("x"))).toMatchObject({
    kind: "unavailable",
    reason: expect.stringContaining("the folder is gone"),
  });
  expect(await store.probe()).toMatchObject({ kind: "unavailable" });
});

test("a folder of blobs removed behind our back is made anew", async () => {
  const bytes = Buffer.from("x");
  await put(bytes);
  await rm(join(path, sha(bytes).slice(0, 2)), { recursive: true });
  expect(await store.has(sha(bytes))).toEqual({ kind: "missing" });
  expect(await put(bytes)).toEqual({ kind: "stored" });
});

test("a full disk is unavailable, says so, and leaves nothing behind", async () => {
  // Every write to this device fails as on a full disk.
  const openFile: OpenFile = async (at, flags, mode) => {
    closeSync(openSync(at, flags, mode));
    return openSync("/dev/full", "w");
  };
  store = await openFolderStore({ path, clock: systemClock, ids, openFile });
  expect(await put(Buffer.from("x"))).toMatchObject({
    kind: "unavailable",
    reason: expect.stringContaining("the disk is full"),
  });
  expect(await store.probe()).toMatchObject({ kind: "unavailable" });
  expect(await leftovers()).toEqual([]);
});

test("removed bytes are missing; removing them again is fine", async () => {
  const bytes = Buffer.from("x");
  await put(bytes);
  expect(await store.remove(sha(bytes))).toEqual({ kind: "removed" });
  expect(await store.remove(sha(bytes))).toEqual({ kind: "removed" });
  expect(await store.open(sha(bytes))).toEqual({ kind: "missing" });
});

test("a name that is no hash is a bug, never a path", async () => {
  await expect(store.has("../../etc/passwd")).rejects.toThrow(RangeError);
});

test("what a crash left in tmp is swept at start, what is under way is not", async () => {
  const old = join(path, "tmp", "old");
  await writeFile(old, "x");
  await utimes(old, 1, 1);
  await writeFile(join(path, "tmp", "fresh"), "x");
  await openFolderStore({ path, clock: systemClock, ids });
  expect(await leftovers()).toEqual(["fresh"]);
});
