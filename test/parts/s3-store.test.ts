/** The S3 store on real servers: what every store must do, and what it does when the server is gone. */
import { randomBytes } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { BlobStore } from "../../packages/control-plane/src/files/model.ts";
import {
  blobOf,
  readBlob,
  sha256Of,
} from "../../packages/control-plane/testing/blob-store-contract.ts";
import {
  keysIn,
  makeBucket,
  s3StoreContract,
  storeOn,
} from "../../packages/control-plane/testing/s3-store-contract.ts";
import { startByteProxy, type ByteProxy } from "./byte-proxy.ts";
import { startS3Server, type S3Server } from "./s3-server.ts";
import { describeOnEachServer } from "./s3-servers.ts";

const MIB = 1024 * 1024;
/** One request, and a multipart upload; the request after which all the bytes are there. */
const UPLOADS = [
  ["small", 1_000, /^PUT /],
  ["large", 20 * MIB, /^POST .*uploadId=/],
] as const;
/** A small question to a server that stands still: 10 s, and something for a busy machine. */
const ASK_LIMIT_MS = 15_000;
/** An upload to it: nothing moves on its connections for 30 s, with three tries. */
const PUT_LIMIT_MS = 120_000;

describeOnEachServer("the S3 store", (name, program) => {
  let server: S3Server;
  beforeAll(async () => {
    server = await startS3Server(name, program);
  });
  afterAll(() => server.close());

  describe("as every store", () => {
    s3StoreContract(() => server);
  });

  describe("when the server is gone", () => {
    let bucket: string;
    let proxy: ByteProxy;
    let store: BlobStore;
    beforeEach(async () => {
      bucket = await makeBucket(server);
      proxy = await startByteProxy(server.endpoint);
      store = await storeOn({ ...server, endpoint: proxy.url }, `s3://${bucket}`);
    });
    afterEach(async () => {
      server.resume();
      await server.start();
      await store.close();
      await proxy.close();
    });
    const expectStored = async (bytes: Uint8Array): Promise<void> => {
      expect(await store.put(blobOf(bytes))).toEqual({ kind: "stored" });
      expect(sha256Of(await readBlob(store, sha256Of(bytes)))).toBe(sha256Of(bytes));
    };

    it("killed: all is unavailable until it is back, and then everything is there", async () => {
      const kept = randomBytes(1_000);
      const late = randomBytes(1_000);
      expect(await store.put(blobOf(kept))).toEqual({ kind: "stored" });
      await server.kill();
      for (const answer of [
        await store.probe(),
        await store.has(sha256Of(kept)),
        await store.open(sha256Of(kept)),
        await store.put(blobOf(late)),
        await store.remove(sha256Of(kept)),
      ]) {
        expect(answer).toMatchObject({ kind: "unavailable" });
      }
      await server.start();
      expect(await store.probe()).toEqual({ kind: "ready" });
      expect(await readBlob(store, sha256Of(kept))).toEqual(kept);
      expect(await store.has(sha256Of(late))).toEqual({ kind: "missing" });
      await expectStored(late);
    });

    it.each(UPLOADS)(
      "killed in the middle of a %s upload: nothing of it is to be seen, and the next one is whole",
      async (_what, size) => {
        const bytes = randomBytes(size);
        let killing: Promise<void> | undefined;
        proxy.afterSending(Math.ceil(size / 2), () => {
          killing = server.kill();
        });
        expect(await store.put(blobOf(bytes))).toMatchObject({ kind: "unavailable" });
        expect(killing).toBeDefined();
        await killing;
        await server.start();
        expect(await store.has(sha256Of(bytes))).toEqual({ kind: "missing" });
        expect(await keysIn(server, bucket)).toEqual([]);
        await expectStored(bytes);
      },
    );

    it.each(UPLOADS)(
      "a %s upload that it took and whose answers are lost counts as not stored",
      async (_what, size, last) => {
        const bytes = randomBytes(size);
        const lost = proxy.loseAnswers(last, Infinity);
        expect(await store.put(blobOf(bytes))).toMatchObject({ kind: "unavailable" });
        await lost;
        // The bytes are there all the same, and nobody was told.
        expect(await keysIn(server, bucket)).toHaveLength(1);
        proxy.passAnswers();
        await expectStored(bytes);
      },
    );

    it.each(UPLOADS)(
      "one lost answer to a %s upload is asked for again",
      async (_what, size, last) => {
        const lost = proxy.loseAnswers(last, 1);
        await expectStored(randomBytes(size));
        await lost;
      },
    );

    it("standing still: every wait has an end, and afterwards everything is there", async () => {
      const kept = randomBytes(1_000);
      await store.put(blobOf(kept));
      server.pause();
      const took = async (ask: () => Promise<{ readonly kind: string }>): Promise<number> => {
        const begun = performance.now();
        expect(await ask()).toMatchObject({ kind: "unavailable" });
        return performance.now() - begun;
      };
      const asks = [
        took(() => store.probe()),
        took(() => store.has(sha256Of(kept))),
        took(() => store.open(sha256Of(kept))),
        took(() => store.remove(sha256Of(randomBytes(8)))),
      ];
      const puts = UPLOADS.map(([, size]) => took(() => store.put(blobOf(randomBytes(size)))));
      for (const ms of await Promise.all(asks)) expect(ms).toBeLessThan(ASK_LIMIT_MS);
      for (const ms of await Promise.all(puts)) expect(ms).toBeLessThan(PUT_LIMIT_MS);
      server.resume();
      expect(await store.probe()).toEqual({ kind: "ready" });
      expect(await readBlob(store, sha256Of(kept))).toEqual(kept);
    });
  });
});
