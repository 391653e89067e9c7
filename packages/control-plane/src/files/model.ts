/**
 * Bytes by content (blobs), and the input files that callers name.
 *
 * I1 Nothing partial is ever visible under a SHA-256: a store shows a blob whole or not at all.
 * I2 A row in `blobs` is written only after the store confirmed size and SHA-256 of the bytes.
 * I3 Bytes are removed only when no row names them and none has for the grace period (noted in
 *    `unnamed_since`); a blob that is registered at that moment is either kept or found missing and
 *    stored again. Whoever writes a row that names a blob touches the blob first.
 */
import type { BlobSource, BlobStored } from "@holdfast/contract";
import type { Queryable } from "../platform/db.ts";

/** Part of a blob, both ends included, as HTTP's Range has it. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** What to store. The body is read once, from start to end. */
export interface PutBlob {
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly body: AsyncIterable<Uint8Array>;
}

/** What a store did with a blob. */
export type PutResult =
  | { readonly kind: "stored" }
  /** The bytes were not those that were announced; nothing is kept. */
  | { readonly kind: "mismatch"; readonly sha256: string; readonly sizeBytes: number }
  /** The store does not answer, is full or refuses us: try again later. */
  | StoreUnavailable;

/** The store cannot be used now. */
export interface StoreUnavailable {
  readonly kind: "unavailable";
  /** For a person: what was tried and what came of it. No secrets. */
  readonly reason: string;
  readonly cause?: unknown;
}

/** What a store found. `sizeBytes` is that of the whole blob, also when a range was asked for. */
export type OpenResult =
  | {
      readonly kind: "found";
      readonly sizeBytes: number;
      /** All that was asked for when it is small, else a stream of it. */
      readonly body: Uint8Array | AsyncIterable<Uint8Array>;
    }
  | { readonly kind: "missing" }
  | StoreUnavailable;

/** Whether a blob is there. */
export type HasResult =
  | { readonly kind: "found"; readonly sizeBytes: number }
  | { readonly kind: "missing" }
  | StoreUnavailable;

/** Whether a store can be used. */
export type ProbeResult = { readonly kind: "ready" } | StoreUnavailable;

/** Where bytes are kept. Nothing here is thrown for what an operator may see on a normal day. */
export interface BlobStore {
  /** What it is, for logs and the status page: `folder /path` or `s3://bucket/prefix`. */
  readonly description: string;
  /**
   * Stores bytes under their SHA-256 and checks both. `stored` only after everything is durable and
   * the hash has been confirmed (I1). Errors of the body itself (a caller that went away) are thrown.
   */
  put(blob: PutBlob): Promise<PutResult>;
  /** Opens a blob, or part of it. The range must lie inside the blob. */
  open(sha256: string, range?: ByteRange): Promise<OpenResult>;
  has(sha256: string): Promise<HasResult>;
  /** Removes a blob; one that is not there counts as removed. */
  remove(sha256: string): Promise<{ readonly kind: "removed" } | StoreUnavailable>;
  /** Asks whether it could store something now. */
  probe(): Promise<ProbeResult>;
  /** Lets go of connections. */
  close(): Promise<void>;
}

/** An input file as a caller named it. Instants are epoch milliseconds. */
export interface StoredFile {
  readonly id: string;
  readonly owner: string;
  readonly name: string;
  readonly sha256: string;
  readonly sizeBytes: number;
  readonly mediaType: string;
  readonly createdAt: number;
}

/** An input that a graph names, and the bytes its owner means by it. */
export interface ResolvedInput {
  readonly name: string;
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** An output with its job's owner, as the download routes need it. */
export interface OutputFile {
  readonly id: string;
  readonly jobId: string;
  readonly owner: string;
  readonly nodeId: string;
  readonly ordinal: number;
  readonly kind: "image" | "video" | "audio" | "text" | "latent" | "file";
  readonly name: string;
  readonly mediaType: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  readonly temporary: boolean;
  readonly text: string | null;
}

/** Longest file name, subfolders included, in bytes of UTF-8. */
export const MAX_FILE_NAME_BYTES = 255;
/** Longest media type kept. */
export const MAX_MEDIA_TYPE_LENGTH = 128;
/** What a file is when nobody said. */
export const DEFAULT_MEDIA_TYPE = "application/octet-stream";
/** How long bytes that nothing names are kept. */
export const DEFAULT_BLOB_GRACE_MS = 3 * 24 * 60 * 60 * 1000;

/** Bytes by content, as the agent's link and the jobs use them: no HTTP, no owners. */
export interface BlobService {
  /**
   * Stores bytes whose hash is known and registers them. Resolves only after the store confirmed
   * them (I2). Throws `checksum_mismatch`, `file_too_large`, `store_unavailable`.
   */
  put(source: BlobSource): Promise<BlobStored>;
  /** Streams a blob. Throws `not_found` when it is not there, `store_unavailable`. */
  get(sha256: string): Promise<AsyncIterable<Uint8Array>>;
  /**
   * Which of these blobs are not in the store, by the `blobs` table. Those that are there are kept
   * for another grace period, so that they can be named by a row written next.
   */
  missing(db: Queryable, sha256s: readonly string[]): Promise<string[]>;
}

/** What the inputs of a graph came to. */
export type InputsResolved =
  | { readonly kind: "found"; readonly inputs: readonly ResolvedInput[] }
  /** None of the caller's files has these names. */
  | { readonly kind: "missing"; readonly names: readonly string[] };

/** Looks up the files that an owner's graph reads, in one statement; keeps their blobs (I3). */
export type ResolveInputs = (
  db: Queryable,
  owner: string,
  names: readonly string[],
) => Promise<InputsResolved>;
