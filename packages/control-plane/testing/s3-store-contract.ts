/** What the S3 store must do on a real server, as tests: call it inside a `describe`. */
import { randomBytes } from "node:crypto";
import { CreateBucketCommand, ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BlobStore } from "../src/files/model.ts";
import { openS3Store } from "../src/files/s3-store.ts";
import { blobOf, blobStoreContract, sha256Of } from "./blob-store-contract.ts";

/** A server, and keys that may do everything on it. */
export interface S3Target {
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

const REGION = "us-east-1";
/** Three parts of a multipart upload. */
const LARGE_BYTES = 20 * 1024 * 1024;

/** A client of a server. */
export function clientOf({ endpoint, ...credentials }: S3Target): S3Client {
  return new S3Client({ endpoint, region: REGION, forcePathStyle: true, credentials });
}

/** Makes a bucket of a new name; returns the name. */
export async function makeBucket(target: S3Target): Promise<string> {
  const bucket = `holdfast-test-${randomBytes(6).toString("hex")}`;
  const client = clientOf(target);
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
  return bucket;
}

/** The keys of all objects in a bucket (up to a thousand). */
export async function keysIn(target: S3Target, bucket: string): Promise<readonly string[]> {
  const client = clientOf(target);
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
  client.destroy();
  return Contents.map((object) => object.Key ?? "");
}

/** The store on a bucket of a server. `url`: `s3://bucket/prefix`. */
export function storeOn(target: S3Target, url: string): Promise<BlobStore> {
  const { endpoint, accessKeyId, secretAccessKey } = target;
  const keys = { accessKeyId, secretAccessKey };
  return openS3Store({ endpoint, ...keys, region: REGION, clock: systemClock, url });
}

/**
 * The tests: those of every store, and what is S3's own. `takesAnyKey`: the server cannot refuse
 * credentials (moto).
 */
export function s3StoreContract(
  target: () => S3Target,
  options: { readonly takesAnyKey?: boolean } = {},
): void {
  let bucket = "";
  let store: BlobStore | undefined;
  const opened = (): BlobStore => {
    if (store === undefined) throw new Error("the store was not opened");
    return store;
  };
  beforeAll(async () => {
    bucket = await makeBucket(target());
    store = await storeOn(target(), `s3://${bucket}/pre/fix`);
  });
  afterAll(() => store?.close());

  blobStoreContract(opened, { largeBytes: LARGE_BYTES, keys: () => keysIn(target(), bucket) });

  test("keys begin with the prefix of the store's URL", async () => {
    const bytes = randomBytes(10);
    await opened().put(blobOf(bytes));
    const keys = await keysIn(target(), bucket);
    expect(keys).toEqual([expect.stringMatching(/^pre\/fix\//)]);
    await opened().remove(sha256Of(bytes));
  });

  test("a bucket that is not there is unavailable, and never missing bytes", async () => {
    const nowhere = await storeOn(target(), `s3://${bucket}-none`);
    for (const answer of await allAnswers(nowhere)) {
      expect(answer).toMatchObject({
        kind: "unavailable",
        reason: expect.stringContaining("no such bucket"),
      });
    }
    await nowhere.close();
  });

  test.skipIf(options.takesAnyKey)("wrong credentials are unavailable, and say so", async () => {
    const { endpoint, accessKeyId, secretAccessKey } = target();
    for (const wrong of [{ accessKeyId: "nobody" }, { secretAccessKey: "wrong-secret" }]) {
      const keys = { accessKeyId, secretAccessKey, ...wrong };
      const refused = await storeOn({ endpoint, ...keys }, `s3://${bucket}`);
      for (const answer of await allAnswers(refused)) {
        expect(answer).toMatchObject({
          kind: "unavailable",
          reason: expect.stringContaining("credentials"),
        });
      }
      await refused.close();
    }
  });
}

/** What a store says to every question that it can be asked. */
async function allAnswers(store: BlobStore): Promise<readonly { readonly kind: string }[]> {
  const bytes = Buffer.from("x");
  return [
    await store.probe(),
    await store.has(sha256Of(bytes)),
    await store.open(sha256Of(bytes)),
    await store.put(blobOf(bytes)),
  ];
}
