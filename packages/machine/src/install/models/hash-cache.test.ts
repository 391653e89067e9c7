import { mkdir, mkdtemp, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "@holdfast/runtime/system";
import { afterEach, beforeEach, expect, test } from "vitest";
import { content, sha256Of } from "../../../testing/file-server.ts";
import { openHashCache, type HashCache } from "./hash-cache.ts";
import { hashRecordsText, parseHashRecords, putRecord, RECORDS_MAX } from "./hash-records.ts";

const FILE = content(1_000_000);
let folder: string;
let file: string;
let path: string;
const open: HashCache[] = [];
const never = new AbortController().signal;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-hashes-"));
  file = join(folder, "cache", "hashes.json");
  path = join(folder, "x");
  await writeFile(path, FILE.bytes);
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((cache) => cache.close()));
  await rm(folder, { recursive: true });
});

async function openCache(more: { onTrouble?: (error: unknown) => void } = {}): Promise<HashCache> {
  const cache = await openHashCache({ file, clock: systemClock, ...more });
  open.push(cache);
  return cache;
}

test("a file is read once, also in the life of the next process", async () => {
  const cache = await openCache();
  expect(cache.known(path)).toBeUndefined();
  expect(await cache.ensure(path, never)).toBe(FILE.sha256);
  expect(cache.known(path)).toBe(FILE.sha256);
  expect((await openCache()).known(path)).toBe(FILE.sha256);
});

test("a file that was changed is not known any more", async () => {
  const cache = await openCache();
  await cache.ensureNow(path, never);
  await utimes(path, 1, 1);
  expect(cache.known(path)).toBeUndefined();
  await writeFile(path, "other");
  expect(cache.known(path)).toBeUndefined();
  expect(await cache.ensure(path, never)).toBe(sha256Of(Buffer.from("other")));
});

test.each(["", "{", '{"version":1}', '{"version":2,"files":{}}', "[]"])(
  "a cache file with %j is an empty one",
  async (text) => {
    await mkdir(join(folder, "cache"));
    await writeFile(file, text);
    const cache = await openCache();
    expect(cache.known(path)).toBeUndefined();
    expect(await cache.ensureNow(path, never)).toBe(FILE.sha256);
    expect(JSON.parse(await readFile(file, "utf8"))).toMatchObject({ version: 1 });
  },
);

test("a record that makes no sense is left out, the others are not", async () => {
  const cache = await openCache();
  await cache.ensureNow(path, never);
  const saved = JSON.parse(await readFile(file, "utf8")) as { files: Record<string, unknown> };
  saved.files["/bad"] = { sha256: "x" };
  await writeFile(file, JSON.stringify(saved));
  expect((await openCache()).known(path)).toBe(FILE.sha256);
});

test("what was fetched for a model is remembered while the file is the same", async () => {
  const cache = await openCache();
  await cache.noteFetched(path, FILE.sha256, "checkpoints/x");
  expect(cache.fetchedFor(path)).toBe("checkpoints/x");
  expect((await openCache()).fetchedFor(path)).toBe("checkpoints/x");
  await writeFile(path, "somebody's");
  expect(cache.fetchedFor(path)).toBeNull();
  await cache.ensureNow(path, never);
  expect(cache.fetchedFor(path)).toBeNull();
});

test("two processes do not lose each other's records, nor what was fetched by the other", async () => {
  const [one, two] = [await openCache(), await openCache()];
  const other = join(folder, "y");
  await writeFile(other, "y");
  await one.noteFetched(path, FILE.sha256, "checkpoints/x");
  await two.ensureNow(other, never);
  // It learns of the other's by its file, and reads nothing anew.
  expect(await two.ensureNow(path, never)).toBe(FILE.sha256);
  expect(two.fetchedFor(path)).toBe("checkpoints/x");
  const third = await openCache();
  expect(third.fetchedFor(path)).toBe("checkpoints/x");
  expect(third.known(other)).toBe(sha256Of(Buffer.from("y")));
});

test("what another process fetched while this one read is not lost, of that file or of others", async () => {
  const big = join(folder, "big");
  const zeros = Buffer.alloc(48_000_000);
  await writeFile(big, zeros);
  const [one, two] = [await openCache(), await openCache()];
  let noted: Promise<unknown> | undefined;
  const sha256 = await two.ensureNow(big, never, () => {
    noted ??= Promise.all([
      one.noteFetched(big, sha256Of(zeros), "checkpoints/big"),
      one.noteFetched(path, FILE.sha256, "checkpoints/x"),
    ]);
  });
  await noted;
  expect(sha256).toBe(sha256Of(zeros));
  await two.ensureNow(path, never);
  expect(two.fetchedFor(path)).toBe("checkpoints/x");
  expect((await openCache()).fetchedFor(big)).toBe("checkpoints/big");
});

test("two who want the same hash have the file read once; it goes on while one still waits", async () => {
  const cache = await openCache();
  const abort = new AbortController();
  const first = cache.ensure(path, abort.signal);
  const second = cache.ensure(path, never);
  abort.abort(new Error("stop"));
  await expect(first).rejects.toThrow("stop");
  expect(await second).toBe(FILE.sha256);
});

test("whoever comes after the last one gave up begins anew", async () => {
  const cache = await openCache();
  const abort = new AbortController();
  const first = cache.ensure(path, abort.signal);
  abort.abort(new Error("stop"));
  await expect(first).rejects.toThrow("stop");
  expect(await cache.ensure(path, never)).toBe(FILE.sha256);
});

test("few files at a time, and one that was given up makes room", async () => {
  const cache = await openCache();
  const paths = await Promise.all(
    [1, 2, 3].map(async (n) => {
      const one = join(folder, String(n));
      await writeFile(one, String(n));
      return one;
    }),
  );
  const abort = new AbortController();
  const [first, ...others] = paths.map((one, at) =>
    cache.ensure(one, at === 0 ? abort.signal : never),
  );
  abort.abort(new Error("stop"));
  await expect(first).rejects.toThrow("stop");
  expect(await Promise.all(others)).toEqual(["2", "3"].map((n) => sha256Of(Buffer.from(n))));
});

test("what is no file is told", async () => {
  const cache = await openCache();
  await expect(cache.ensure(folder, never)).rejects.toThrow("is no file");
  await expect(cache.ensureNow(join(folder, "none"), never)).rejects.toThrow("ENOENT");
  expect(cache.known(folder)).toBeUndefined();
  expect(cache.known(join(path, "below-a-file"))).toBeUndefined();
});

test("a cache that cannot be written still answers, and says so", async () => {
  await writeFile(join(folder, "cache"), "a file where the folder should be");
  const troubles: unknown[] = [];
  const cache = await openCache({ onTrouble: (error) => troubles.push(error) });
  expect(await cache.ensureNow(path, never)).toBe(FILE.sha256);
  expect(troubles).toHaveLength(1);
});

test("the longest unused records go first", () => {
  const records = parseHashRecords("");
  const one = { sizeBytes: 1, mtimeNs: "1", inode: "1", sha256: "0".repeat(64), fetchedFor: null };
  for (let n = 0; n <= RECORDS_MAX; n += 1) putRecord(records, `/${n}`, one);
  expect(records.size).toBe(RECORDS_MAX);
  expect(records.has("/0")).toBe(false);
  expect(parseHashRecords(hashRecordsText(records)).size).toBe(RECORDS_MAX);
});
