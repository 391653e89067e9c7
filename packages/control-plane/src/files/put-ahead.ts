import type { BlobSource, BlobStored } from "@holdfast/contract";
import { accept, unavailable } from "./blob-service.ts";
import type { BlobStore } from "./model.ts";
import type { Registrar } from "./registrar.ts";
import { tooLarge } from "./spool.ts";

/**
 * Stores bytes that a report of this process will name in a moment, or nobody ever: as whole and as
 * durable as any put, but the blob's row is written later, with what names it (registrar.ts).
 */
export type PutAhead = (source: BlobSource) => Promise<BlobStored>;

/** What a {@link PutAhead} is made of. */
export interface PutAheadDeps {
  readonly store: BlobStore;
  readonly registrar: Registrar;
  /** Larger blobs are refused with `file_too_large`. */
  readonly maxBytes: number;
  /** The put of everybody else, with its row: for bytes that are there already. */
  readonly put: (source: BlobSource) => Promise<BlobStored>;
}

/** Makes a {@link PutAhead}. */
export function createPutAhead({ store, registrar, maxBytes, put }: PutAheadDeps): PutAhead {
  return async (source) => {
    const { sha256, sizeBytes } = source;
    if (sizeBytes > maxBytes) throw tooLarge(maxBytes);
    if (registrar.unregistered([sha256]).length > 0) return { sha256, sizeBytes };
    const found = await store.has(sha256);
    if (found.kind === "unavailable") throw unavailable(found);
    if (found.kind === "found") return await put(source);
    accept(await store.put({ sha256, sizeBytes, body: source.open() }));
    registrar.add({ sha256, sizeBytes });
    return { sha256, sizeBytes };
  };
}
