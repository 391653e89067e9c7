/** Buckets that go away and come back under whoever writes into them. */
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  ListObjectsV2Command,
} from "@aws-sdk/client-s3";
import { clientOf, type S3Target } from "./s3-store-contract.ts";

/** Removes a bucket with all that is in it. Rejects where somebody writes into it meanwhile. */
export async function removeBucket(target: S3Target, bucket: string): Promise<void> {
  const client = clientOf(target);
  try {
    for (;;) {
      const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
      if (Contents.length === 0) break;
      for (const { Key } of Contents) {
        await client.send(new DeleteObjectCommand({ Bucket: bucket, Key }));
      }
    }
    await client.send(new DeleteBucketCommand({ Bucket: bucket }));
  } finally {
    client.destroy();
  }
}

/** Makes a bucket of this name. */
export async function makeBucketAgain(target: S3Target, bucket: string): Promise<void> {
  const client = clientOf(target);
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  client.destroy();
}
