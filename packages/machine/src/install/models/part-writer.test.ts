import { createHash } from "node:crypto";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { CHUNK_BYTES, openPartFile, PartWriter, type OpenPart } from "./part-writer.ts";

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "hf-part-"));
  path = join(folder, "part");
});
afterEach(() => rm(folder, { recursive: true }));

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

test("however bytes come and a disk takes them, the file and the hash are those of all in order", async () => {
  const piece = fc.uint8Array({ minLength: 1, maxLength: 300 });
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 5_000 }),
      fc.array(fc.record({ piece, waits: fc.boolean() }), { maxLength: 30 }),
      fc.integer({ min: 1, max: 200 }),
      fc.boolean(),
      async (kept, pieces, takesAtMost, startsEarly) => {
        await writeFile(path, kept);
        const writer = await PartWriter.open(path, slowDisk(takesAtMost));
        if (startsEarly) writer.startHashing();
        for (const { piece, waits } of pieces) {
          const full = writer.push(piece);
          if (waits) await full;
          if (waits) await Promise.resolve();
        }
        const all = Buffer.concat([kept, ...pieces.map((one) => one.piece)]);
        expect(await writer.digest()).toBe(sha256(all));
        expect(writer.sizeBytes).toBe(all.length);
        await writer.close();
        expect((await readFile(path)).equals(all)).toBe(true);
      },
    ),
    { numRuns: 60 },
  );
});

/** Takes so many bytes of each write, as a disk may. */
function slowDisk(takesAtMost: number): OpenPart {
  return async (file) => {
    const handle = await open(file, "r+");
    return Object.assign(Object.create(handle) as typeof handle, {
      read: handle.read.bind(handle),
      truncate: handle.truncate.bind(handle),
      stat: handle.stat.bind(handle),
      sync: handle.sync.bind(handle),
      close: handle.close.bind(handle),
      writev: async (chunks: Uint8Array[], position: number) => {
        const bytes = Buffer.concat(chunks).subarray(0, takesAtMost);
        const { bytesWritten } = await handle.write(bytes, 0, bytes.length, position);
        return { bytesWritten, buffers: chunks };
      },
    });
  };
}

test("less than a chunk is ever in memory alone, and whoever brings more waits", async () => {
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  const stuck: OpenPart = async (file) => {
    const handle = await openPartFile(file);
    const writev = handle.writev.bind(handle);
    handle.writev = (async (chunks: Uint8Array[], position: number) => {
      await gate;
      return await writev(chunks, position);
    }) as typeof handle.writev;
    return handle;
  };
  const writer = await PartWriter.open(path, stuck);
  const piece = Buffer.alloc(64 * 1024);
  let taken = 0;
  let full: Promise<void> | undefined;
  while (full === undefined) {
    full = writer.push(piece);
    taken += piece.length;
  }
  expect(taken).toBeLessThan(CHUNK_BYTES);
  expect(writer.isWriting).toBe(true);
  release();
  await full;
  expect(writer.push(piece)).toBeUndefined();
  await writer.close();
});

test("beginning anew forgets what was there, also while it is being read", async () => {
  await writeFile(path, Buffer.alloc(3_000_000, 1));
  const writer = await PartWriter.open(path, openPartFile);
  writer.startHashing();
  await writer.push(Buffer.from("old"));
  await writer.restart();
  expect(writer.sizeBytes).toBe(0);
  await writer.push(Buffer.from("new"));
  expect(await writer.digest()).toBe(sha256(Buffer.from("new")));
  // More may follow a digest: the next try of a download goes on.
  await writer.push(Buffer.from("er"));
  expect(await writer.digest()).toBe(sha256(Buffer.from("newer")));
  await writer.close();
  expect(await readFile(path, "utf8")).toBe("newer");
});

test("a part that became shorter while it was read is told", async () => {
  await writeFile(path, Buffer.alloc(3_000_000, 1));
  const writer = await PartWriter.open(path, openPartFile);
  await writeFile(path, "");
  await expect(writer.digest()).rejects.toThrow("the disk refused");
  await writer.close();
});
