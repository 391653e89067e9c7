/**
 * `node make-bucket.mjs`: makes the bucket of `HOLDFAST_STORE` (s3://bucket/prefix) where it is not there,
 * with the same settings as the control plane. For stores of one's own: elsewhere a bucket is made by hand.
 */
import {
  BucketAlreadyOwnedByYou,
  CreateBucketCommand,
  HeadBucketCommand,
  S3Client,
} from "@aws-sdk/client-s3";

const { env } = process;
const bucket = /^s3:\/\/([^/]+)/.exec(env.HOLDFAST_STORE ?? "")?.[1];
if (bucket === undefined) {
  console.error(`HOLDFAST_STORE: expected s3://bucket, found ${env.HOLDFAST_STORE ?? "nothing"}`);
  process.exit(2);
}
const client = new S3Client({
  endpoint: env.HOLDFAST_S3_ENDPOINT,
  region: env.HOLDFAST_S3_REGION || "us-east-1",
  forcePathStyle: env.HOLDFAST_S3_FORCE_PATH_STYLE !== "false",
  credentials: {
    accessKeyId: env.HOLDFAST_S3_ACCESS_KEY_ID ?? "",
    secretAccessKey: env.HOLDFAST_S3_SECRET_ACCESS_KEY ?? "",
  },
});

try {
  await client.send(new HeadBucketCommand({ Bucket: bucket }));
  console.log(`bucket ${bucket} is there`);
} catch (error) {
  if (error.$metadata?.httpStatusCode !== 404) throw error;
  await client.send(new CreateBucketCommand({ Bucket: bucket })).catch((failure) => {
    // Somebody else made it in this moment, with the same keys.
    if (!(failure instanceof BucketAlreadyOwnedByYou)) throw failure;
  });
  console.log(`made bucket ${bucket}`);
}
