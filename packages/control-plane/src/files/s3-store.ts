/**
 * Blobs as objects of an S3 bucket (AWS, MinIO, Ceph, R2, …).
 *
 * A small blob is one PUT that carries its SHA-256: the store refuses other bytes. A large one is a
 * multipart upload whose parts carry theirs; we hash the whole on the way and complete the upload
 * only when size and hash are right, and until then nothing can be seen under its key (model.ts I1).
 * `stored` needs the store's own answer about the object: its checksum, or its size by HEAD.
 * The client library is loaded when a store is opened: without S3 it costs nothing.
 */
import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import type { S3Client } from "@aws-sdk/client-s3";
import type { Abortable, Clock } from "@holdfast/runtime";
import type {
  BlobStore,
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

/** Opens an S3 store. Asks nothing of the server yet: `probe` tells whether it is there. */
export async function openS3Store(options: S3StoreOptions): Promise<BlobStore> {
  const [sdk, { Upload }] = await Promise.all([
    import("@aws-sdk/client-s3"),
    import("@aws-sdk/lib-storage"),
  ]);
  const { bucket: Bucket, prefix } = parseS3Url(options.url);
  const { accessKeyId, secretAccessKey, clock } = options;
  const client: S3Client = new sdk.S3Client({
    region: options.region,
    forcePathStyle: options.forcePathStyle ?? options.endpoint !== undefined,
    maxAttempts: MAX_TRIES,
    requestHandler: { connectionTimeout: CONNECT_TIMEOUT_MS, socketTimeout: IDLE_TIMEOUT_MS },
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    ...(accessKeyId === undefined || secretAccessKey === undefined
      ? {}
      : { credentials: { accessKeyId, secretAccessKey } }),
  });
  const description = `s3://${Bucket}/${prefix}`;
  const keyOf = (sha256: string): string =>
    `${prefix}${sha256.slice(0, 2)}/${sha256.slice(2, 4)}/${sha256}`;
  const unavailable = (error: unknown): StoreUnavailable => ({
    kind: "unavailable",
    reason: `${description}: ${s3FailureText(error)}`,
    cause: error,
  });
  const limited = <T>(ms: number, ask: (abortSignal: AbortSignal) => Promise<T>): Promise<T> =>
    withTimeLimit(clock, ms, ask);

  const head = async (sha256: string): Promise<HasResult> => {
    try {
      const answer = await limited(ASK_TIMEOUT_MS, (abortSignal) =>
        client.send(new sdk.HeadObjectCommand({ Bucket, Key: keyOf(sha256) }), { abortSignal }),
      );
      return { kind: "found", sizeBytes: answer.ContentLength ?? 0 };
    } catch (error) {
      if (httpStatus(error) !== 404) return unavailable(error);
      // A HEAD has no words: no such object, no such bucket and an unknown user look the same.
      const bucket = await probe();
      return bucket.kind === "ready" ? { kind: "missing" } : bucket;
    }
  };

  const probe = async (): Promise<ProbeResult> => {
    try {
      await limited(ASK_TIMEOUT_MS, (abortSignal) =>
        client.send(new sdk.HeadBucketCommand({ Bucket }), { abortSignal }),
      );
      return { kind: "ready" };
    } catch (error) {
      return unavailable(error);
    }
  };

  const putWhole = async (blob: PutBlob): Promise<PutResult> => {
    const read = await readWhole(blob);
    if (read.kind === "mismatch") return read;
    const ChecksumSHA256 = Buffer.from(blob.sha256, "hex").toString("base64");
    try {
      const answer = await limited(uploadLimitMs(blob.sizeBytes), (abortSignal) =>
        client.send(
          new sdk.PutObjectCommand({
            Bucket,
            Key: keyOf(blob.sha256),
            Body: read.bytes,
            ContentLength: blob.sizeBytes,
            ChecksumSHA256,
          }),
          { abortSignal },
        ),
      );
      if (answer.ChecksumSHA256 === ChecksumSHA256) return { kind: "stored" };
    } catch (error) {
      return unavailable(error);
    }
    return confirmSize(blob);
  };

  const putParts = async (blob: PutBlob): Promise<PutResult> => {
    const checked = hashed(blob);
    const upload = new Upload({
      client,
      params: {
        Bucket,
        Key: keyOf(blob.sha256),
        Body: Readable.from(checked.body),
        ChecksumAlgorithm: "SHA256",
      },
      partSize: Math.max(PART_BYTES, Math.ceil(blob.sizeBytes / MAX_PARTS)),
      queueSize: PARTS_AT_ONCE,
    });
    try {
      await limited(uploadLimitMs(blob.sizeBytes), async (signal) => {
        const abort = (): void => void upload.abort();
        signal.addEventListener("abort", abort, { once: true });
        await upload.done();
      });
    } catch (error) {
      const outcome = checked.outcome();
      if (outcome.kind === "mismatch") return outcome;
      if (outcome.kind === "body_failed") throw outcome.error;
      return unavailable(error);
    }
    return confirmSize(blob);
  };

  const confirmSize = async (blob: PutBlob): Promise<PutResult> => {
    const found = await head(blob.sha256);
    if (found.kind === "unavailable") return found;
    if (found.kind === "found" && found.sizeBytes === blob.sizeBytes) return { kind: "stored" };
    return unavailable(new Error("it took the bytes and does not have them whole"));
  };

  return {
    description,
    put: (blob) => (blob.sizeBytes <= SINGLE_PUT_BYTES ? putWhole(blob) : putParts(blob)),
    async open(sha256, range): Promise<OpenResult> {
      const Range = range === undefined ? {} : { Range: `bytes=${range.start}-${range.end}` };
      try {
        const answer = await limited(ASK_TIMEOUT_MS, (abortSignal) =>
          client.send(new sdk.GetObjectCommand({ Bucket, Key: keyOf(sha256), ...Range }), {
            abortSignal,
          }),
        );
        if (!(answer.Body instanceof Readable)) throw new Error("the answer has no body");
        const total = Number(answer.ContentRange?.split("/")[1] ?? answer.ContentLength ?? 0);
        return { kind: "found", sizeBytes: total, body: answer.Body };
      } catch (error) {
        return (error as { name?: unknown }).name === "NoSuchKey"
          ? { kind: "missing" }
          : unavailable(error);
      }
    },
    has: head,
    async remove(sha256) {
      try {
        await limited(ASK_TIMEOUT_MS, (abortSignal) =>
          client.send(new sdk.DeleteObjectCommand({ Bucket, Key: keyOf(sha256) }), { abortSignal }),
        );
        return { kind: "removed" };
      } catch (error) {
        return unavailable(error);
      }
    },
    probe,
    async close() {
      client.destroy();
    },
  };
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

type WholeRead =
  { readonly kind: "read"; readonly bytes: Uint8Array } | Extract<PutResult, { kind: "mismatch" }>;

async function readWhole(blob: PutBlob): Promise<WholeRead> {
  const parts: Uint8Array[] = [];
  const hash = createHash("sha256");
  let sizeBytes = 0;
  for await (const part of blob.body) {
    hash.update(part);
    sizeBytes += part.byteLength;
    if (sizeBytes > blob.sizeBytes) break;
    parts.push(part);
  }
  const sha256 = hash.digest("hex");
  return sha256 === blob.sha256 && sizeBytes === blob.sizeBytes
    ? { kind: "read", bytes: Buffer.concat(parts) }
    : { kind: "mismatch", sha256, sizeBytes };
}

type BodyOutcome =
  | { readonly kind: "fine" }
  | { readonly kind: "body_failed"; readonly error: unknown }
  | Extract<PutResult, { kind: "mismatch" }>;

/**
 * A body that is hashed while it is read and fails at its end when it is not what was announced:
 * the upload that reads it is then aborted before it completes.
 */
function hashed(blob: PutBlob): { body: AsyncIterable<Uint8Array>; outcome: () => BodyOutcome } {
  let outcome: BodyOutcome = { kind: "fine" };
  const refuse = (sha256: string, sizeBytes: number): Error => {
    outcome = { kind: "mismatch", sha256, sizeBytes };
    return new Error("the bytes are not those that were announced");
  };
  async function* read(): AsyncGenerator<Uint8Array, void, void> {
    const hash = createHash("sha256");
    let sizeBytes = 0;
    try {
      for await (const part of blob.body) {
        hash.update(part);
        sizeBytes += part.byteLength;
        if (sizeBytes > blob.sizeBytes) throw refuse(hash.digest("hex"), sizeBytes);
        yield part;
      }
    } catch (error) {
      if (outcome.kind === "fine") outcome = { kind: "body_failed", error };
      throw error;
    }
    const sha256 = hash.digest("hex");
    if (sha256 !== blob.sha256 || sizeBytes !== blob.sizeBytes) throw refuse(sha256, sizeBytes);
  }
  return { body: read(), outcome: () => outcome };
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
