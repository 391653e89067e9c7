/**
 * Blobs as objects of an S3 bucket (AWS, MinIO, Ceph, R2, …).
 *
 * A small blob is one PUT that carries its SHA-256: the store refuses other bytes. A large one is a
 * multipart upload whose parts carry theirs; we hash the whole on the way and complete the upload
 * only when size and hash are right, and until then nothing can be seen under its key (model.ts I1).
 * `stored` needs the store's own answer about the object: its checksum, or its size by HEAD.
 * The client library is loaded when a store is opened: without S3 it costs nothing.
 */
import { Readable } from "node:stream";
import type * as sdkModule from "@aws-sdk/client-s3";
import type { Abortable, Clock } from "@holdfast/runtime";
import { hashed, readWhole } from "./announced-body.ts";
import type {
  BlobStore,
  ByteRange,
  HasResult,
  OpenResult,
  ProbeResult,
  PutBlob,
  PutResult,
  StoreUnavailable,
} from "./model.ts";

/** Where the bucket is and how to get in. Without keys the SDK's own search for credentials counts. */
export interface S3StoreOptions {
  /** `s3://bucket/prefix`. */
  readonly url: string;
  readonly region: string;
  readonly clock: Clock;
  /** Another server than AWS. */
  readonly endpoint?: string;
  readonly accessKeyId?: string;
  readonly secretAccessKey?: string;
  /** The bucket in the path and not in the host name; right for most servers that are not AWS. */
  readonly forcePathStyle?: boolean;
}

/** Blobs up to this size go in one request, from memory. */
const SINGLE_PUT_BYTES = 8 * 1024 * 1024;
const PART_BYTES = 8 * 1024 * 1024;
const PARTS_AT_ONCE = 2;
/** S3 takes no more parts than this; blobs so large that they need more get larger parts. */
const MAX_PARTS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** A connection on which nothing moves for so long is given up. */
const IDLE_TIMEOUT_MS = 30_000;
/** One small question: a store that needs longer is down. */
const ASK_TIMEOUT_MS = 10_000;
/** A whole upload: this, and time for its bytes at a slow line's pace. */
const UPLOAD_BASE_TIMEOUT_MS = 60_000;
const UPLOAD_SLOWEST_BYTES_PER_MS = 64;
const MAX_TRIES = 3;

/** The bucket and the key prefix (`""` or ending in `/`) of a store URL. Throws RangeError. */
export function parseS3Url(text: string): { readonly bucket: string; readonly prefix: string } {
  const match = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*))?$/.exec(text);
  if (match?.[1] === undefined) {
    throw new RangeError(`expected s3://bucket or s3://bucket/prefix, got ${text}`);
  }
  const prefix = (match[2] ?? "").replace(/^\/+|\/+$/g, "");
  return { bucket: match[1], prefix: prefix === "" ? "" : `${prefix}/` };
}

/** What every operation needs. */
interface Bucket {
  readonly sdk: typeof sdkModule;
  readonly client: sdkModule.S3Client;
  readonly name: string;
  readonly description: string;
  keyOf(sha256: string): string;
  /** Asks with a time limit. */
  ask<T>(ms: number, question: (abortSignal: AbortSignal) => Promise<T>): Promise<T>;
  unavailable(error: unknown): StoreUnavailable;
}

/** Opens an S3 store. Asks nothing of the server yet: `probe` tells whether it is there. */
export async function openS3Store(options: S3StoreOptions): Promise<BlobStore> {
  const bucket = await openBucket(options);
  return {
    description: bucket.description,
    put: (blob) =>
      blob.sizeBytes <= SINGLE_PUT_BYTES ? putWhole(bucket, blob) : putParts(bucket, blob),
    open: (sha256, range) => openObject(bucket, sha256, range),
    has: (sha256) => headObject(bucket, sha256),
    remove: (sha256) => removeObject(bucket, sha256),
    probe: () => headBucket(bucket),
    async close() {
      bucket.client.destroy();
    },
  };
}

async function openBucket(options: S3StoreOptions): Promise<Bucket> {
  const { bucket: name, prefix } = parseS3Url(options.url);
  // The SDK's own switch for its notice that Node 20 will not do in 2027: nothing that a user can act on,
  // for the SDK comes with us.
  process.env["AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED"] ??= "true";
  const sdk = await import("@aws-sdk/client-s3");
  const { accessKeyId, secretAccessKey, clock } = options;
  const client = new sdk.S3Client({
    region: options.region,
    forcePathStyle: options.forcePathStyle ?? options.endpoint !== undefined,
    maxAttempts: MAX_TRIES,
    requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS, socketTimeout: IDLE_TIMEOUT_MS },
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    ...(accessKeyId === undefined || secretAccessKey === undefined
      ? {}
      : { credentials: { accessKeyId, secretAccessKey } }),
  });
  const description = `s3://${name}/${prefix}`;
  return {
    sdk,
    client,
    name,
    description,
    keyOf: (sha256) => `${prefix}${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}`,
    ask: (ms, question) => withTimeLimit(clock, ms, question),
    unavailable: (error) => ({
      kind: "unavailable",
      reason: `${description}: ${s3FailureText(error)}`,
      cause: error,
    }),
  };
}

async function headBucket(bucket: Bucket): Promise<ProbeResult> {
  try {
    await bucket.ask(ASK_TIMEOUT_MS, (abortSignal) =>
      bucket.client.send(new bucket.sdk.HeadBucketCommand({ Bucket: bucket.name }), {
        abortSignal,
      }),
    );
    return { kind: "ready" };
  } catch (error) {
    return bucket.unavailable(error);
  }
}

async function headObject(bucket: Bucket, sha256: string): Promise<HasResult> {
  const where = { Bucket: bucket.name, Key: bucket.keyOf(sha256) };
  try {
    const answer = await bucket.ask(ASK_TIMEOUT_MS, (abortSignal) =>
      bucket.client.send(new bucket.sdk.HeadObjectCommand(where), { abortSignal }),
    );
    return { kind: "found", sizeBytes: answer.ContentLength ?? 0 };
  } catch (error) {
    if (httpStatus(error) !== 404) return bucket.unavailable(error);
    // A HEAD has no words: no such object, no such bucket and an unknown user look the same.
    const probed = await headBucket(bucket);
    return probed.kind === "ready" ? { kind: "missing" } : probed;
  }
}

async function putWhole(bucket: Bucket, blob: PutBlob): Promise<PutResult> {
  const read = await readWhole(blob);
  if (read.kind === "mismatch") return read;
  const ChecksumSHA256 = Buffer.from(blob.sha256, "hex").toString("base64");
  const command = new bucket.sdk.PutObjectCommand({
    Bucket: bucket.name,
    Key: bucket.keyOf(blob.sha256),
    Body: read.bytes,
    ContentLength: blob.sizeBytes,
    ChecksumSHA256,
  });
  try {
    const answer = await bucket.ask(uploadLimitMs(blob.sizeBytes), (abortSignal) =>
      bucket.client.send(command, { abortSignal }),
    );
    if (answer.ChecksumSHA256 === ChecksumSHA256) return { kind: "stored" };
  } catch (error) {
    return bucket.unavailable(error);
  }
  return confirmSize(bucket, blob);
}

async function putParts(bucket: Bucket, blob: PutBlob): Promise<PutResult> {
  const { Upload } = await import("@aws-sdk/lib-storage");
  const checked = hashed(blob);
  const upload = new Upload({
    client: bucket.client,
    params: {
      Bucket: bucket.name,
      Key: bucket.keyOf(blob.sha256),
      Body: Readable.from(checked.body),
      ChecksumAlgorithm: "SHA256",
    },
    partSize: Math.max(PART_BYTES, Math.ceil(blob.sizeBytes / MAX_PARTS)),
    queueSize: PARTS_AT_ONCE,
  });
  try {
    await bucket.ask(uploadLimitMs(blob.sizeBytes), async (signal) => {
      const abort = (): void => void upload.abort();
      signal.addEventListener("abort", abort, { once: true });
      await upload.done();
    });
  } catch (error) {
    const outcome = checked.outcome();
    if (outcome.kind === "mismatch") return outcome;
    if (outcome.kind === "body_failed") throw outcome.error;
    // A completion whose answer was lost is sent again, and MinIO knows no such upload any more: it
    // may have been completed. What is there tells.
    if ((error as { name?: unknown }).name !== "NoSuchUpload") return bucket.unavailable(error);
  }
  return confirmSize(bucket, blob);
}

async function confirmSize(bucket: Bucket, blob: PutBlob): Promise<PutResult> {
  const found = await headObject(bucket, blob.sha256);
  if (found.kind === "unavailable") return found;
  if (found.kind === "found" && found.sizeBytes === blob.sizeBytes) return { kind: "stored" };
  return bucket.unavailable(new Error("it took the bytes and does not have them whole"));
}

async function openObject(
  bucket: Bucket,
  sha256: string,
  range: ByteRange | undefined,
): Promise<OpenResult> {
  const command = new bucket.sdk.GetObjectCommand({
    Bucket: bucket.name,
    Key: bucket.keyOf(sha256),
    ...(range === undefined ? {} : { Range: `bytes=${range.start}-${range.end}` }),
  });
  try {
    const answer = await bucket.ask(ASK_TIMEOUT_MS, (abortSignal) =>
      bucket.client.send(command, { abortSignal }),
    );
    if (!(answer.Body instanceof Readable)) throw new Error("the answer has no body");
    const total = Number(answer.ContentRange?.split("/")[1] ?? answer.ContentLength ?? 0);
    return { kind: "found", sizeBytes: total, body: answer.Body };
  } catch (error) {
    return (error as { name?: unknown }).name === "NoSuchKey"
      ? { kind: "missing" }
      : bucket.unavailable(error);
  }
}

async function removeObject(
  bucket: Bucket,
  sha256: string,
): Promise<{ readonly kind: "removed" } | StoreUnavailable> {
  const where = { Bucket: bucket.name, Key: bucket.keyOf(sha256) };
  try {
    await bucket.ask(ASK_TIMEOUT_MS, (abortSignal) =>
      bucket.client.send(new bucket.sdk.DeleteObjectCommand(where), { abortSignal }),
    );
    return { kind: "removed" };
  } catch (error) {
    return bucket.unavailable(error);
  }
}

function uploadLimitMs(sizeBytes: number): number {
  return UPLOAD_BASE_TIMEOUT_MS + sizeBytes / UPLOAD_SLOWEST_BYTES_PER_MS;
}

async function withTimeLimit<T>(
  clock: Clock,
  ms: number,
  ask: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController();
  const done = new AbortController();
  const timer: Abortable = done.signal;
  void clock.sleep(ms, timer).then(
    () => over.abort(),
    () => undefined,
  );
  try {
    return await ask(over.signal);
  } catch (error) {
    if (over.signal.aborted) throw new Error(`no answer within ${ms} ms`, { cause: error });
    throw error;
  } finally {
    done.abort();
  }
}

function httpStatus(error: unknown): number | undefined {
  return (error as { $metadata?: { httpStatusCode?: number } } | null)?.$metadata?.httpStatusCode;
}

/** Names by which servers tell that they do not know our key (versitygw 1.8 has one of its own). */
const REFUSED = new Set([
  "InvalidAccessKeyId",
  "SignatureDoesNotMatch",
  "XAdminUserNotFound",
  "CredentialsProviderError",
  "ExpiredToken",
  "InvalidToken",
]);

/**
 * Whether what the S3 client threw is a refusal: no later try goes better before somebody makes the
 * bucket, or sets a key that may do it. Not where no credentials were found: their source may be away.
 */
export function isS3Refusal(error: unknown): boolean {
  const name = (error as { name?: string } | undefined)?.name;
  if (name === "CredentialsProviderError") return false;
  if (name !== undefined && REFUSED.has(name)) return true;
  const status = httpStatus(error);
  return status === 401 || status === 403 || status === 404;
}

/** Words for a person about what the S3 client threw. */
export function s3FailureText(error: unknown): string {
  const { name, message, code } = error as { name?: string; message?: string; code?: unknown };
  if (name !== undefined && REFUSED.has(name)) {
    return `it refused our credentials (${name}); check the access key and its secret`;
  }
  if (name === "NoSuchBucket") return "there is no such bucket";
  const status = httpStatus(error);
  if (name === "AccessDenied" || status === 403) return "our credentials may not do this (403)";
  if (status === 404) return "there is no such bucket, or our credentials are unknown there (404)";
  if (code === "ECONNREFUSED") return "the connection was refused";
  if (code === "ENOTFOUND") return "the host name was not found";
  if (status !== undefined && status >= 500) return `it answered ${status}`;
  if (error instanceof AggregateError && error.errors[0] !== undefined) {
    return s3FailureText(error.errors[0]);
  }
  return message === undefined || message === "" ? (name ?? "no answer") : message.slice(0, 300);
}
