/** What every file store must do (files/model.ts), as tests: call it inside a `describe`. */
import { createHash, randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import type { BlobStore, ByteRange, PutBlob } from "../src/files/model.ts";

const LIMIT_MS = 120_000;

/** The SHA-256 of bytes, in hex. */
export function sha256Of(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Bytes in pieces, as they come over a network. */
async function* inPieces(bytes: Uint8Array, pieceBytes = 64 * 1024): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes);
}

/** Bytes, announced as what they are. */
export function blobOf(bytes: Uint8Array): PutBlob {
  return { sha256: sha256Of(bytes), sizeBytes: bytes.length, body: inPieces(bytes) };
}

/** Reads a blob, or part of it, whole. Throws when it is not there. */
export async function readBlob(
  store: BlobStore,
  sha256: string,
  range?: ByteRange,
): Promise<Buffer> {
  const opened = await store.open(sha256, range);
  if (opened.kind !== "found") throw new Error(JSON.stringify(opened));
  if (opened.body instanceof Uint8Array) return Buffer.from(opened.body);
  const parts: Uint8Array[] = [];
  for await (const part of opened.body) parts.push(part);
  return Buffer.concat(parts);
}

/**
 * The tests. `largeBytes`: a size that the store takes in several pieces. `keys`: every name that the
 * store shows now, if it can tell.
 */
export function blobStoreContract(
  store: () => BlobStore,
  options: { readonly largeBytes: number; readonly keys?: () => Promise<readonly string[]> },
): void {
  const { largeBytes, keys } = options;
  const sizes: readonly (readonly [string, number])[] = [
    ["empty", 0],
    ["small", 1_000],
    ["large", largeBytes + 17],
  ];

  test("is ready", async () => {
    expect(await store().probe()).toEqual({ kind: "ready" });
  });

  test.each(sizes)(
    "a blob that is %s is stored, found, read and removed",
    async (_what, size) => {
      const bytes = randomBytes(size);
      const sha256 = sha256Of(bytes);
      expect(await store().put(blobOf(bytes))).toEqual({ kind: "stored" });
      expect(await store().has(sha256)).toEqual({ kind: "found", sizeBytes: size });
      expect(sha256Of(await readBlob(store(), sha256))).toBe(sha256);
      const name = `${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}`;
      if (keys !== undefined) expect(await keys()).toEqual([expect.stringContaining(name)]);
      expect(await store().remove(sha256)).toEqual({ kind: "removed" });
      expect(await store().has(sha256)).toEqual({ kind: "missing" });
      expect(await store().open(sha256)).toEqual({ kind: "missing" });
      expect(await store().remove(sha256)).toEqual({ kind: "removed" });
    },
    LIMIT_MS,
  );

  test.each(sizes.slice(1))(
    "a blob that is %s and not what was announced is never to be seen",
    async (_what, size) => {
      const bytes = randomBytes(size);
      const sha256 = sha256Of(bytes);
      const other = sha256Of(randomBytes(8));
      const put = (announced: Partial<PutBlob>) => store().put({ ...blobOf(bytes), ...announced });
      expect(await put({ sha256: other })).toEqual({ kind: "mismatch", sha256, sizeBytes: size });
      expect(await put({ sizeBytes: size - 1 })).toMatchObject({ kind: "mismatch" });
      expect(await put({ sizeBytes: size + 1 })).toMatchObject({ kind: "mismatch" });
      expect(await store().has(other)).toEqual({ kind: "missing" });
      expect(await store().has(sha256)).toEqual({ kind: "missing" });
    },
    LIMIT_MS,
  );

  test("a part of a blob comes with the size of the whole", async () => {
    const bytes = randomBytes(1_000);
    const sha256 = sha256Of(bytes);
    await store().put(blobOf(bytes));
    expect(await readBlob(store(), sha256, { start: 10, end: 19 })).toEqual(bytes.subarray(10, 20));
    const opened = await store().open(sha256, { start: 10, end: 19 });
    expect(opened).toMatchObject({ kind: "found", sizeBytes: 1_000 });
    if (opened.kind === "found") for await (const _ of opened.body);
    await store().remove(sha256);
  });

  test(
    "nothing can be seen of a blob before it is whole, and nothing stays when its sender goes away",
    async () => {
      const bytes = randomBytes(largeBytes);
      const sha256 = sha256Of(bytes);
      let seen: unknown;
      const body = (async function* () {
        yield* inPieces(bytes.subarray(0, Math.ceil(largeBytes / 2)));
        seen = await store().has(sha256);
        throw new Error("gone away");
      })();
      await expect(store().put({ ...blobOf(bytes), body })).rejects.toThrow("gone away");
      expect(seen).toEqual({ kind: "missing" });
      expect(await store().has(sha256)).toEqual({ kind: "missing" });
    },
    LIMIT_MS,
  );

  test(
    "the same bytes stored by many at once are one whole blob",
    async () => {
      for (const size of [1_000, largeBytes]) {
        const bytes = randomBytes(size);
        const puts = Array.from({ length: 4 }, () => store().put(blobOf(bytes)));
        for (const result of await Promise.all(puts)) expect(result).toEqual({ kind: "stored" });
        const sha256 = sha256Of(bytes);
        expect(sha256Of(await readBlob(store(), sha256))).toBe(sha256);
        await store().remove(sha256);
      }
    },
    LIMIT_MS,
  );
}
