import { createHash, randomBytes } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { CreateBucketCommand, ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock } from "@holdfast/runtime/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { BlobStore } from "./model.ts";
import { openS3Store, parseS3Url } from "./s3-store.ts";

const endpoint = process.env["HOLDFAST_TEST_S3_ENDPOINT"] ?? "";
const accessKeyId = process.env["HOLDFAST_TEST_S3_ACCESS_KEY"] ?? "test";
const secretAccessKey = process.env["HOLDFAST_TEST_S3_SECRET_KEY"] ?? "testtest";
/** Servers that take any credentials (moto) cannot show a refusal. */
const takesAnyKey = process.env["HOLDFAST_TEST_S3_ANY_KEY"] === "1";

const sha = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
async function* chunks(bytes: Uint8Array, size = 64 * 1024): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
const blob = (bytes: Uint8Array) => ({
  sha256: sha(bytes),
  sizeBytes: bytes.length,
  body: chunks(bytes),
});

test("a store URL names a bucket and a prefix", () => {
  expect(parseS3Url("s3://renders")).toEqual({ bucket: "renders", prefix: "" });
  expect(parseS3Url("s3://renders/a/b/")).toEqual({ bucket: "renders", prefix: "a/b/" });
  for (const wrong of ["http://renders", "s3://", "s3://No_Capitals", "s3://x"]) {
    expect(() => parseS3Url(wrong)).toThrow(RangeError);
  }
});

test("a server that is not there is unavailable, with its reason", async () => {
  const store = await openS3Store({
    url: "s3://renders",
    endpoint: "http://127.0.0.1:1",
    region: "us-east-1",
    accessKeyId: "a",
    secretAccessKey: "b",
    clock: systemClock,
  });
  expect(await store.probe()).toMatchObject({
    kind: "unavailable",
    reason: expect.stringContaining("the connection was refused"),
  });
  expect(await store.put(blob(Buffer.from("x")))).toMatchObject({ kind: "unavailable" });
  await store.close();
});

test("a server that never answers is given up", async () => {
  let arrived = (): void => undefined;
  const asked = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const server: Server = createServer(() => arrived());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const clock = createFakeClock();
  const store = await openS3Store({
    url: "s3://renders",
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    region: "us-east-1",
    accessKeyId: "a",
    secretAccessKey: "b",
    clock,
  });
  const probing = store.probe();
  await asked;
  await clock.advance(10_001);
  expect(await probing).toMatchObject({
    kind: "unavailable",
    reason: expect.stringContaining("no answer within"),
  });
  await store.close();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const withoutServer = endpoint === "" ? "SKIPPED, set HOLDFAST_TEST_S3_ENDPOINT: " : "";
describe.skipIf(endpoint === "")(`${withoutServer}a real S3 server`, () => {
  const bucket = `holdfast-test-${randomBytes(6).toString("hex")}`;
  const connection = { endpoint, region: "us-east-1", clock: systemClock };
  let store: BlobStore;
  let client: S3Client;
  beforeAll(async () => {
    client = new S3Client({
      endpoint,
      region: "us-east-1",
      forcePathStyle: true,
      credentials: { accessKeyId, secretAccessKey },
    });
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
    store = await openS3Store({
      ...connection,
      url: `s3://${bucket}/pre/fix`,
      accessKeyId,
      secretAccessKey,
    });
  });
  afterAll(async () => {
    await store.close();
    client.destroy();
  });

  async function read(sha256: string, range?: { start: number; end: number }): Promise<Buffer> {
    const opened = await store.open(sha256, range);
    if (opened.kind !== "found") throw new Error(JSON.stringify(opened));
    if (opened.body instanceof Uint8Array) return Buffer.from(opened.body);
    const parts: Uint8Array[] = [];
    for await (const part of opened.body) parts.push(part);
    return Buffer.concat(parts);
  }

  test("is ready", async () => {
    expect(await store.probe()).toEqual({ kind: "ready" });
  });

  test.each([
    ["empty", 0],
    ["small", 1_000],
    ["of several parts", 20 * 1024 * 1024 + 17],
  ])(
    "a blob that is %s is stored, found, read and removed",
    async (_what, size) => {
      const bytes = randomBytes(size);
      expect(await store.put(blob(bytes))).toEqual({ kind: "stored" });
      expect(await store.has(sha(bytes))).toEqual({ kind: "found", sizeBytes: size });
      expect(sha(await read(sha(bytes)))).toBe(sha(bytes));
      const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
      expect(Contents.map((object) => object.Key)).toEqual([
        `pre/fix/${sha(bytes).slice(0, 2)}/${sha(bytes).slice(2, 4)}/${sha(bytes)}`,
      ]);
      expect(await store.remove(sha(bytes))).toEqual({ kind: "removed" });
      expect(await store.has(sha(bytes))).toEqual({ kind: "missing" });
      expect(await store.open(sha(bytes))).toEqual({ kind: "missing" });
      expect(await store.remove(sha(bytes))).toEqual({ kind: "removed" });
    },
    60_000,
  );

  test.each([
    ["small", 1_000],
    ["of several parts", 20 * 1024 * 1024],
  ])(
    "a blob that is %s and not what was announced is never to be seen",
    async (_what, size) => {
      const bytes = randomBytes(size);
      const other = sha(randomBytes(8));
      expect(await store.put({ sha256: other, sizeBytes: size, body: chunks(bytes) })).toEqual({
        kind: "mismatch",
        sha256: sha(bytes),
        sizeBytes: size,
      });
      expect(
        await store.put({ sha256: sha(bytes), sizeBytes: size - 1, body: chunks(bytes) }),
      ).toMatchObject({ kind: "mismatch" });
      expect(
        await store.put({ sha256: sha(bytes), sizeBytes: size + 1, body: chunks(bytes) }),
      ).toMatchObject({ kind: "mismatch" });
      expect(await store.has(other)).toEqual({ kind: "missing" });
      expect(await store.has(sha(bytes))).toEqual({ kind: "missing" });
    },
    60_000,
  );

  test("a part of a blob comes with the size of the whole", async () => {
    const bytes = randomBytes(1_000);
    await store.put(blob(bytes));
    expect(await read(sha(bytes), { start: 10, end: 19 })).toEqual(bytes.subarray(10, 20));
    const opened = await store.open(sha(bytes), { start: 10, end: 19 });
    expect(opened).toMatchObject({ kind: "found", sizeBytes: 1_000 });
    if (opened.kind === "found") for await (const _ of opened.body);
    await store.remove(sha(bytes));
  });

  test("a caller that goes away in the middle leaves nothing", async () => {
    const bytes = randomBytes(20 * 1024 * 1024);
    const body = (async function* () {
      yield* chunks(bytes.subarray(0, 10 * 1024 * 1024));
      throw new Error("gone away");
    })();
    await expect(store.put({ sha256: sha(bytes), sizeBytes: bytes.length, body })).rejects.toThrow(
      "gone away",
    );
    expect(await store.has(sha(bytes))).toEqual({ kind: "missing" });
  }, 60_000);

  test("a bucket that is not there is unavailable, and never missing bytes", async () => {
    const nowhere = await openS3Store({
      ...connection,
      url: `s3://${bucket}-none`,
      accessKeyId,
      secretAccessKey,
    });
    const name = sha(Buffer.from("x"));
    for (const answer of [
      await nowhere.probe(),
      await nowhere.has(name),
      await nowhere.open(name),
      await nowhere.put(blob(Buffer.from("x"))),
    ]) {
      expect(answer).toMatchObject({
        kind: "unavailable",
        reason: expect.stringContaining("no such bucket"),
      });
    }
    await nowhere.close();
  });

  test.skipIf(takesAnyKey)("wrong credentials are unavailable, and say so", async () => {
    for (const wrong of [
      { accessKeyId: "nobody", secretAccessKey },
      { accessKeyId, secretAccessKey: "wrong-secret" },
    ]) {
      const refused = await openS3Store({ ...connection, ...wrong, url: `s3://${bucket}` });
      const name = sha(Buffer.from("x"));
      for (const answer of [
        await refused.probe(),
        await refused.has(name),
        await refused.open(name),
        await refused.put(blob(Buffer.from("x"))),
      ]) {
        expect(answer).toMatchObject({
          kind: "unavailable",
          reason: expect.stringContaining("credentials"),
        });
      }
      await refused.close();
    }
  });
});
