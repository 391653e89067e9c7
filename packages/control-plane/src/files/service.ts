import { HoldfastError } from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";
import type { GuardedFetch } from "../access/guarded-fetch.ts";
import { toPage, type PageRequest } from "../access/pages.ts";
import type { Db } from "../platform/db.ts";
import type { BlobKeeper } from "./blob-service.ts";
import { cleanMediaType } from "./download-headers.ts";
import { nameFromUrl, parseFileName } from "./file-name.ts";
import type { OutputFile, ResolveInputs, StoredFile } from "./model.ts";
import { spool } from "./spool.ts";
import {
  deleteFile,
  findFile,
  findOutput,
  selectFiles,
  selectNamed,
  touchBlobs,
  upsertFile,
} from "./store.ts";

/** An upload whose hash is not known before it is read. */
export interface Upload {
  readonly name: string;
  readonly mediaType: string | undefined;
  readonly body: AsyncIterable<Uint8Array>;
  /** What the sender says it is: checked. */
  readonly announcedSha256?: string | undefined;
}

/** Input files: what callers upload, and what their graphs name. */
export interface FileService {
  /**
   * Takes a file in under its name. Throws `invalid_file_name`, `file_too_large`,
   * `checksum_mismatch`, `store_unavailable`, `overloaded`.
   */
  save(owner: string, upload: Upload): Promise<StoredFile>;
  /** Fetches a file. Throws `url_forbidden` and `url_unreachable` besides. */
  saveFromUrl(owner: string, url: string, name: string | undefined): Promise<StoredFile>;
  list(
    owner: string | null,
    page: PageRequest,
  ): Promise<{ readonly items: readonly StoredFile[]; readonly next: string | null }>;
  /** Throws `not_found`; so do the others for what is somebody else's. */
  get(id: string, owner: string | null): Promise<StoredFile>;
  remove(id: string, owner: string | null): Promise<void>;
  output(id: string, owner: string | null): Promise<OutputFile>;
}

/** How to make a {@link FileService}. */
export interface FileServiceOptions {
  readonly db: Db;
  readonly blobs: BlobKeeper;
  readonly ids: IdSource;
  readonly fetch: GuardedFetch;
  /** An existing folder for uploads under way. */
  readonly spoolFolder: string;
  readonly maxFileBytes: number;
}

/** Uploads that are read at the same time; more are told to come back. */
export const MAX_UPLOADS_AT_ONCE = 64;
const URL_TIMEOUT_MS = 5 * 60_000;
const URL_MAX_REDIRECTS = 5;

/** Makes the service of input files. */
export function createFileService(options: FileServiceOptions): FileService {
  const { db, blobs, ids, maxFileBytes } = options;
  let uploads = 0;

  const save = async (owner: string, upload: Upload): Promise<StoredFile> => {
    const name = validName(upload.name);
    blobs.assertUsable();
    if (uploads >= MAX_UPLOADS_AT_ONCE) {
      throw new HoldfastError("overloaded", "too many uploads at once", { retryAfterSeconds: 2 });
    }
    uploads += 1;
    try {
      const spooled = await spool(upload.body, {
        folder: options.spoolFolder,
        ids,
        limitBytes: maxFileBytes,
      });
      try {
        const { sha256 } = spooled;
        if (upload.announcedSha256 !== undefined && upload.announcedSha256 !== sha256) {
          throw new HoldfastError(
            "checksum_mismatch",
            `the bytes have SHA-256 ${sha256}, announced was ${upload.announcedSha256}`,
            { details: { sha256, sizeBytes: spooled.sizeBytes } },
          );
        }
        await blobs.put(spooled);
        const mediaType = cleanMediaType(upload.mediaType);
        return await upsertFile(db, { id: ids.next("fil"), owner, name, sha256, mediaType });
      } finally {
        await spooled.discard();
      }
    } finally {
      uploads -= 1;
    }
  };

  return {
    save,
    async saveFromUrl(owner, url, wantedName) {
      const name = wantedName ?? nameOfUrl(url);
      const { mediaType, body, discard } = await fetchFile(options.fetch, url, maxFileBytes);
      try {
        return await save(owner, { name, mediaType, body });
      } finally {
        discard();
      }
    },
    async list(owner, page) {
      const rows = await selectFiles(db, { owner, cursor: page.cursor, limit: page.limit + 1 });
      return toPage(rows, page.limit);
    },
    async get(id, owner) {
      const file = await findFile(db, id, owner);
      if (file === undefined) throw new HoldfastError("not_found", `there is no file ${id}`);
      return file;
    },
    async remove(id, owner) {
      if (!(await deleteFile(db, id, owner))) {
        throw new HoldfastError("not_found", `there is no file ${id}`);
      }
    },
    async output(id, owner) {
      const output = await findOutput(db, id);
      if (output === undefined || (owner !== null && output.owner !== owner)) {
        throw new HoldfastError("not_found", `there is no output ${id}`);
      }
      return output;
    },
  };
}

interface FetchedFile {
  readonly mediaType: string | undefined;
  readonly body: AsyncIterable<Uint8Array>;
  readonly discard: () => void;
}

/** Begins to fetch a file. Throws `url_forbidden`, `url_unreachable`. */
async function fetchFile(
  fetcher: GuardedFetch,
  url: string,
  maxBytes: number,
): Promise<FetchedFile> {
  const outcome = await fetcher.fetch(url, {
    timeoutMs: URL_TIMEOUT_MS,
    maxBytes,
    maxRedirects: URL_MAX_REDIRECTS,
  });
  if (outcome.kind === "forbidden") throw new HoldfastError("url_forbidden", outcome.reason);
  if (outcome.kind === "unreachable") throw new HoldfastError("url_unreachable", outcome.reason);
  if (outcome.status !== 200) {
    outcome.discard();
    throw new HoldfastError("url_unreachable", `the URL answered ${outcome.status}`, {
      details: { status: outcome.status },
    });
  }
  const type = outcome.headers["content-type"];
  const mediaType = typeof type === "string" ? type : undefined;
  return { mediaType, body: outcome.body, discard: outcome.discard };
}

/** See {@link ResolveInputs}. Works in the transaction that writes the job. */
export const resolveInputs: ResolveInputs = async (db, owner, names) => {
  const wanted = [...new Set(names)];
  if (wanted.length === 0) return { kind: "found", inputs: [] };
  const found = await selectNamed(db, owner, wanted);
  const kept = await touchBlobs(
    db,
    found.map((file) => file.sha256),
  );
  const inputs = found.filter((file) => kept.has(file.sha256));
  const known = new Set(inputs.map((file) => file.name));
  const missing = wanted.filter((name) => !known.has(name));
  return missing.length === 0 ? { kind: "found", inputs } : { kind: "missing", names: missing };
};

function validName(text: string): string {
  const result = parseFileName(text);
  if (result.kind === "valid") return result.name;
  throw new HoldfastError("invalid_file_name", result.reason);
}

function nameOfUrl(url: string): string {
  if (!URL.canParse(url)) throw new HoldfastError("url_forbidden", "this is not a URL");
  const result = nameFromUrl(url);
  if (result.kind === "valid") return result.name;
  throw new HoldfastError("invalid_file_name", `give a name: ${result.reason}`);
}
