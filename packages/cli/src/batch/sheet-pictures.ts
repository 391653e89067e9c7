/** The pictures of a contact sheet, fetched into a folder. */
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@holdfast/runtime";
import type { ApiClient } from "../api/api-client.ts";

const AT_ONCE = 4;
const TRIES = 3;
const RETRY_MS = 200;

const EXTENSIONS: Readonly<Record<string, string>> = {
  "image/png": "png",
  "image/jpeg": "jpg",
  "image/webp": "webp",
  "image/gif": "gif",
  "image/avif": "avif",
  "image/bmp": "bmp",
};

/** A picture that a sheet shows. */
export interface SheetPicture {
  /** Where the server has it. */
  readonly path: string;
  readonly outputId: string;
}

/** What became of one. */
export type FetchedPicture =
  | { readonly kind: "fetched"; readonly file: string; readonly sizeBytes: number }
  | { readonly kind: "missing"; readonly reason: string };

/** How to fetch. */
export interface PictureOptions {
  /** Is there, and is nobody else's. */
  readonly folder: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** Told after each, how many are over. */
  readonly onFetched: (count: number) => void;
}

/**
 * Fetches pictures, some at a time, each straight to disk and whole or not at all; gives what became of
 * each by its path. What passes is tried again; when the server stays away, those that are left are
 * missing, too. Rejects when its signal is aborted, and when the disk takes no more.
 */
export async function fetchPictures(
  api: ApiClient,
  pictures: readonly SheetPicture[],
  options: PictureOptions,
): Promise<ReadonlyMap<string, FetchedPicture>> {
  const results = new Map<string, FetchedPicture>();
  let next = 0;
  let lost: string | undefined;
  const work = async (): Promise<void> => {
    for (let at = next++; at < pictures.length; at = next++) {
      const picture = pictures[at];
      if (picture === undefined) return;
      const tried: Tried =
        lost === undefined
          ? await tryPicture(api, picture, options)
          : { kind: "away", reason: lost };
      if (tried.kind === "away") lost = tried.reason;
      results.set(
        picture.path,
        tried.kind === "fetched" ? tried : { kind: "missing", reason: tried.reason },
      );
      options.onFetched(results.size);
    }
  };
  // Nobody writes any more when this rejects: what is there can be removed.
  const ended = await Promise.allSettled(
    Array.from({ length: AT_ONCE }, () =>
      work().finally(() => {
        next = pictures.length;
      }),
    ),
  );
  const failed = ended.find(({ status }) => status === "rejected");
  if (failed?.status === "rejected") throw failed.reason;
  return results;
}

type Tried =
  | Extract<FetchedPicture, { kind: "fetched" }>
  /** `away`: the server itself does not answer. */
  | { readonly kind: "again" | "away" | "hopeless"; readonly reason: string };

async function tryPicture(
  api: ApiClient,
  picture: SheetPicture,
  options: PictureOptions,
): Promise<Tried> {
  for (let attempt = 1; ; attempt += 1) {
    const tried = await fetchPicture(api, picture, options);
    const isPassing = tried.kind === "again" || tried.kind === "away";
    if (!isPassing || attempt === TRIES) return tried;
    await options.clock.sleep(RETRY_MS * 2 ** (attempt - 1), options.signal);
  }
}

async function fetchPicture(
  api: ApiClient,
  { path, outputId }: SheetPicture,
  { folder, signal }: PictureOptions,
): Promise<Tried> {
  const answer = await api.request(path, { headers: { accept: "*/*" }, signal });
  if (answer.kind === "unreachable") return { kind: "away", reason: answer.reason };
  if (answer.kind === "refused") {
    const isFinal = answer.status < 500 && answer.status !== 429;
    return { kind: isFinal ? "hopeless" : "again", reason: answer.message };
  }
  const { body, headers } = answer.response;
  const type = headers.get("content-type")?.split(";", 1)[0]?.trim() ?? "";
  const extension = Object.hasOwn(EXTENSIONS, type) ? EXTENSIONS[type] : undefined;
  if (extension === undefined) {
    await body?.cancel();
    return {
      kind: "hopeless",
      reason: `it is no picture but ${type === "" ? "of no type" : type}`,
    };
  }
  const file = `${outputId}.${extension}`;
  const sizeBytes = await writeBody(body ?? [], join(folder, file), signal);
  if (sizeBytes === undefined) return { kind: "again", reason: "the connection was cut" };
  return { kind: "fetched", file, sizeBytes };
}

/** How many bytes were written; undefined, and no file, when the connection was cut. */
async function writeBody(
  body: ReadableStream | readonly never[],
  path: string,
  signal: AbortSignal,
): Promise<number | undefined> {
  const file = await open(path, "w");
  let sizeBytes = 0;
  let isWhole = false;
  try {
    const pieces = (body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    for (;;) {
      // A cut connection is tried again; a disk that takes no more is not.
      const piece = await pieces.next().catch((error: unknown) => ({ error }));
      signal.throwIfAborted();
      if ("error" in piece) return undefined;
      if (piece.done === true) break;
      sizeBytes += piece.value.length;
      await file.writeFile(piece.value);
    }
    isWhole = true;
    return sizeBytes;
  } finally {
    await file.close();
    if (!isWhole) await rm(path, { force: true });
  }
}
