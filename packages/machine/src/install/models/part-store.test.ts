import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  findStaleParts,
  keptBytes,
  partPlace,
  readRecord,
  removePart,
  saveRecord,
} from "./part-store.ts";

const A = "a".repeat(64);
const B = "b".repeat(64);
const C = "c".repeat(64);
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-parts-"));
});
afterEach(() => rm(folder, { recursive: true }));

const RECORD = { url: "https://host/x", etag: '"1"', lastModified: null, totalBytes: 7 };

test("a record is read as it was written; nothing, and nonsense, is no record", async () => {
  const place = partPlace(folder, A);
  expect(await readRecord(place)).toBeNull();
  expect(await keptBytes(place)).toBe(0);
  await saveRecord(place, RECORD);
  expect(await readRecord(place)).toEqual(RECORD);
  await writeFile(place.record, '{"url":');
  expect(await readRecord(place)).toBeNull();
  await writeFile(place.record, `"${"x".repeat(20_000)}"`);
  expect(await readRecord(place)).toBeNull();
});

test("absurd headers of a server are not kept", async () => {
  const place = partPlace(folder, A);
  await saveRecord(place, { ...RECORD, etag: `"${"x".repeat(10_000)}"` });
  expect(await readRecord(place)).toEqual({ ...RECORD, etag: null });
});

test("what is removed leaves nothing of a record that was being written, and nothing of others'", async () => {
  const place = partPlace(folder, A);
  await saveRecord(place, RECORD);
  // A process was killed between writing it beside and renaming it.
  for (const name of [`${A}.json.77.1.new`, `${B}.json.77.2.new`, `${A}.part`]) {
    await writeFile(join(folder, name), "{");
  }
  await removePart(place);
  expect(await readdir(folder)).toEqual([`${B}.json.77.2.new`]);
});

test("parts that nobody wants are found, those that are wanted are not", async () => {
  for (const name of [`${A}.part`, `${A}.json`, `${B}.part`, `${C}.json`, "other"]) {
    await writeFile(join(folder, name), "12345");
  }
  await mkdir(join(folder, "folder"));
  expect(await findStaleParts(folder, new Set([B]))).toEqual([
    { sha256: A, changedAt: expect.any(Number) },
    { sha256: C, changedAt: expect.any(Number) },
  ]);
  expect(await findStaleParts(join(folder, "none"), new Set())).toEqual([]);
});
