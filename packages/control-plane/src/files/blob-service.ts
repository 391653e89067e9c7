import { HoldfastError, type BlobSource, type BlobStored } from "@holdfast/contract";
import type { Db } from "../platform/db.ts";
import type { CircuitStore } from "./circuit-store.ts";
import type {
  BlobService,
  ByteRange,
  HasResult,
  OpenResult,
  PutBlob,
  PutResult,
  StoreUnavailable,
} from "./model.ts";
import { tooLarge } from "./spool.ts";
import { registerBlob, touchBlobs } from "./store.ts";

/** The {@link BlobService} with what this feature's own routes need besides. */
export interface BlobKeeper extends BlobService {
  /** Like `put`, with a body that can be read once: answers `store_unavailable` where `put` repeats. */
  putOnce(blob: PutBlob): Promise<BlobStored>;
  open(sha256: string, range?: ByteRange): Promise<OpenResult>;
  has(sha256: string): Promise<HasResult>;
  /** Throws `store_unavailable` if the store is known to be down, before anybody sends bytes. */
  assertUsable(): void;
}

/** How to make a {@link BlobKeeper}. */
export interface BlobKeeperOptions {
  readonly db: Db;
  readonly store: CircuitStore;
  readonly maxBytes: number;
}

/** A collector can come between only when the blob was unnamed for days; twice is out of the question. */
const MAX_PUTS = 3;
const RETRY_AFTER_SECONDS = 5;

/** Makes the service that stores bytes and registers them. */
export function createBlobKeeper(options: BlobKeeperOptions): BlobKeeper {
  const { db, store, maxBytes } = options;

  /** True when the bytes were still there after their row was written (model.ts I3). */
  const register = async (blob: { sha256: string; sizeBytes: number }): Promise<boolean> => {
    const isNew = await registerBlob(db, blob);
    // Somebody else's row protects the bytes; before a new one a collector may just have taken them.
    if (!isNew) return true;
    const found = await store.has(blob.sha256);
    if (found.kind === "unavailable") throw unavailable(found);
    return found.kind === "found" && found.sizeBytes === blob.sizeBytes;
  };

  const isKept = async (sha256: string, sizeBytes: number): Promise<boolean> => {
    const found = await store.has(sha256);
    if (found.kind === "unavailable") throw unavailable(found);
    if (found.kind === "missing" || found.sizeBytes !== sizeBytes) return false;
    return (await touchBlobs(db, [sha256])).has(sha256);
  };

  const assertSize = (sizeBytes: number): void => {
    if (sizeBytes > maxBytes) throw tooLarge(maxBytes);
  };

  return {
    async put(source: BlobSource) {
      const { sha256, sizeBytes } = source;
      assertSize(sizeBytes);
      if (await isKept(sha256, sizeBytes)) return { sha256, sizeBytes };
      for (let puts = 0; puts < MAX_PUTS; puts += 1) {
        accept(await store.put({ sha256, sizeBytes, body: source.open() }));
        if (await register({ sha256, sizeBytes })) return { sha256, sizeBytes };
      }
      throw lostAgain();
    },
    async putOnce({ sha256, sizeBytes, body }) {
      assertSize(sizeBytes);
      accept(await store.put({ sha256, sizeBytes, body }));
      if (await register({ sha256, sizeBytes })) return { sha256, sizeBytes };
      throw lostAgain();
    },
    async get(sha256) {
      const opened = await store.open(sha256);
      if (opened.kind === "unavailable") throw unavailable(opened);
      if (opened.kind === "missing") {
        throw new HoldfastError("not_found", `no bytes with SHA-256 ${sha256} in the store`);
      }
      return opened.body instanceof Uint8Array ? oneOf(opened.body) : opened.body;
    },
    open: (sha256, range) => store.open(sha256, range),
    has: (sha256) => store.has(sha256),
    async missing(on, sha256s) {
      const wanted = [...new Set(sha256s)];
      const known = await touchBlobs(on, wanted);
      return wanted.filter((sha256) => !known.has(sha256));
    },
    assertUsable() {
      const failure = store.knownFailure();
      if (failure !== undefined) throw unavailable(failure);
    },
  };
}

/** Throws what a put that did not store comes to: `store_unavailable`, `checksum_mismatch`. */
export function accept(result: PutResult): void {
  if (result.kind === "unavailable") throw unavailable(result);
  if (result.kind === "mismatch") {
    throw new HoldfastError("checksum_mismatch", "the bytes are not those that were announced", {
      details: { sha256: result.sha256, sizeBytes: result.sizeBytes },
    });
  }
}

async function* oneOf(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  yield bytes;
}

/** The error for a store that cannot be used now. Its reason stays in our log: it names our places. */
export function unavailable(result: StoreUnavailable): HoldfastError {
  return new HoldfastError("store_unavailable", "the file store cannot be used now; try again", {
    retryAfterSeconds: RETRY_AFTER_SECONDS,
    cause: new Error(result.reason, { cause: result.cause }),
  });
}

function lostAgain(): HoldfastError {
  return new HoldfastError(
    "store_unavailable",
    "the store did not keep the bytes; send them again",
    {
      retryAfterSeconds: 1,
    },
  );
}
