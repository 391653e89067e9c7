import { createHash } from "node:crypto";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { Spool, type SpooledBlob } from "./spool.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-spool-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const LIMITS = { spoolBytes: 100, memoryOutputBytes: 10, memoryTotalBytes: 15 };

async function* pieces(...parts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part);
}
async function* broken(): AsyncGenerator<Uint8Array> {
  yield Buffer.from("0123456789abcdef");
  throw new Error("cut");
}
async function read(blob: SpooledBlob): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of blob.open()) parts.push(part);
  return Buffer.concat(parts).toString();
}

it("keeps small bytes in memory and large ones on disk, both readable as often as needed", async () => {
  const spool = new Spool(folder, LIMITS);
  await spool.start();
  const small = await spool.take(pieces("abc", "def"));
  expect(await readdir(folder)).toEqual([]);
  const large = await spool.take(pieces("0123456789", "abcdef"));
  expect(await readdir(folder)).toEqual([large.sha256]);
  expect(large.sha256).toBe(createHash("sha256").update("0123456789abcdef").digest("hex"));
  for (let n = 0; n < 2; n += 1) {
    expect(await read(small)).toBe("abcdef");
    expect(await read(large)).toBe("0123456789abcdef");
  }
  expect(spool.usedBytes()).toBe(22);
  await small.release();
  await large.release();
  expect(spool.usedBytes()).toBe(0);
  expect(await readdir(folder)).toEqual([]);
});

it("keeps equal bytes once, until the last user lets them go", async () => {
  const spool = new Spool(folder, LIMITS);
  await spool.start();
  const one = await spool.take(pieces("same bytes, more than ten"));
  const two = await spool.take(pieces("same bytes, more than ten"));
  expect(spool.usedBytes()).toBe(25);
  await one.release();
  await one.release();
  expect(await read(two)).toBe("same bytes, more than ten");
  await two.release();
  expect(await readdir(folder)).toEqual([]);
});

it("puts bytes on disk that have to wait, and a later life finds them", async () => {
  const spool = new Spool(folder, LIMITS);
  await spool.start();
  const blob = await spool.take(pieces("tiny"));
  await blob.toDisk();
  const stray = await spool.take(pieces("nobody names these bytes"));
  const next = new Spool(folder, LIMITS);
  await next.start();
  await next.keepOnly(new Set([blob.sha256]));
  expect(await readdir(folder)).toEqual([blob.sha256]);
  const found = await next.find(blob.sha256);
  expect(found === undefined ? "" : await read(found)).toBe("tiny");
  expect(await next.find(stray.sha256)).toBeUndefined();
});

it("has no room at its limit, and none of a transfer that broke", async () => {
  const spool = new Spool(folder, { ...LIMITS, spoolBytes: 20 });
  await spool.start();
  await expect(spool.take(broken())).rejects.toThrow("cut");
  expect(await readdir(folder)).toEqual([]);
  expect(spool.hasRoom()).toBe(true);
  await spool.take(pieces("0123456789", "0123456789"));
  expect(spool.hasRoom()).toBe(false);
});

it("does not delete bytes that somebody else takes at the same time", async () => {
  const spool = new Spool(folder, LIMITS);
  await spool.start();
  for (let n = 0; n < 50; n += 1) {
    const one = await spool.take(pieces("the same bytes, once more"));
    const [two] = await Promise.all([
      spool.take(pieces("the same bytes, once more")),
      // A moment later each time, so that it meets every step of the other.
      Promise.resolve().then(async () => {
        for (let turn = 0; turn < n % 25; turn += 1) {
          await new Promise((resolve) => setImmediate(resolve));
        }
        await one.release();
      }),
    ]);
    expect(await read(two)).toBe("the same bytes, once more");
    await two.release();
  }
  expect(await readdir(folder)).toEqual([]);
});

it("tells that bytes were lost on its disk, and takes them anew", async () => {
  const spool = new Spool(folder, LIMITS);
  await spool.start();
  const gone = await spool.take(pieces("0123456789abcdef"));
  await rm(join(folder, gone.sha256));
  await expect(read(gone)).rejects.toThrow("ENOENT");
  expect(gone.isLost()).toBe(true);
  expect(spool.usedBytes()).toBe(0);
  const again = await spool.take(pieces("0123456789abcdef"));
  await gone.release();
  await writeFile(join(folder, again.sha256), "0123");
  await expect(read(again)).rejects.toThrow("4 of 16 bytes");
  const third = await spool.take(pieces("0123456789abcdef"));
  expect(await read(third)).toBe("0123456789abcdef");
});
