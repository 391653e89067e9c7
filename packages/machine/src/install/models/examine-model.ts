/** What is there of a model, without reading the file and without changing anything. */
import { lstat, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ModelEntry } from "../../manifest/model.ts";
import { downloadFailure, type DownloadFailure } from "./download-failure.ts";
import type { HashCache } from "./hash-cache.ts";
import { findTarget, modelKey, type ModelTarget } from "./model-target.ts";
import { keptBytes, PARTIAL_FOLDER, partPlace, readRecord, type PartPlace } from "./part-store.ts";

/** What is there. */
export type ModelFound =
  /** The file, with the right hash. */
  | { readonly kind: "present"; readonly target: ModelTarget; readonly sizeBytes: number }
  /** A file that has not been read yet. */
  | { readonly kind: "unread"; readonly target: ModelTarget; readonly sizeBytes: number }
  | ModelToFetch
  | { readonly kind: "blocked"; readonly failure: DownloadFailure };

/** Nothing, or an earlier file that we fetched for this very model. */
export interface ModelToFetch {
  readonly kind: "missing" | "outdated";
  readonly target: ModelTarget;
  readonly part: PartPlace;
  /** Fetched before, and not to be fetched again. */
  readonly keptBytes: number;
  /** Of the whole file; null while nobody knows. */
  readonly sizeBytes: number | null;
}

/** Looks at the place of a model. */
export async function examineModel(
  entry: ModelEntry,
  root: string,
  hashes: Pick<HashCache, "known" | "fetchedFor">,
): Promise<ModelFound> {
  const found = await findTarget(root, entry);
  if (found.kind === "failed") return { kind: "blocked", failure: found.failure };
  const { target } = found;
  const facts = await lstat(target.path).catch(() => null);
  if (facts === null) return await toFetch("missing", entry, root, target);
  const file = facts.isSymbolicLink() ? await stat(target.path).catch(() => null) : facts;
  if (file === null || !file.isFile()) {
    const what = file === null ? "a link that leads nowhere" : "no file";
    return blocked(`${target.path} is ${what}`);
  }
  const known = hashes.known(target.path);
  if (known === entry.sha256) return { kind: "present", target, sizeBytes: file.size };
  const isOurs = !facts.isSymbolicLink() && hashes.fetchedFor(target.path) === modelKey(entry);
  if (isOurs) return await toFetch("outdated", entry, root, target);
  if (known !== undefined) return blocked(otherHash(target.path, entry.sha256, known));
  if (entry.sizeBytes !== undefined && entry.sizeBytes !== file.size) {
    return blocked(
      `${target.path} is another file: expected ${entry.sizeBytes} bytes, found ${file.size}`,
    );
  }
  return { kind: "unread", target, sizeBytes: file.size };
}

/** A file of another content, in words. */
export function otherHash(path: string, expected: string, found: string): string {
  return `${path} is another file: expected the SHA-256 ${expected}, found ${found}`;
}

async function toFetch(
  kind: "missing" | "outdated",
  entry: ModelEntry,
  root: string,
  target: ModelTarget,
): Promise<ModelToFetch> {
  const part = partPlace(await partialFolder(root, target), entry.sha256);
  const record = await readRecord(part);
  const isSameUrl = record?.url === entry.url;
  return {
    kind,
    target,
    part,
    keptBytes: await keptBytes(part),
    sizeBytes: entry.sizeBytes ?? (isSameUrl ? record.totalBytes : null),
  };
}

/** On the disk of the target, or the finished file could not be renamed to it: a folder may be a mount. */
async function partialFolder(root: string, target: ModelTarget): Promise<string> {
  const [rootDevice, device] = await Promise.all([deviceOf(root), deviceOf(target.existing)]);
  const isElsewhere = rootDevice !== null && device !== rootDevice;
  return join(isElsewhere ? target.existing : root, PARTIAL_FOLDER);
}

async function deviceOf(path: string): Promise<number | null> {
  return await stat(path).then(
    ({ dev }) => dev,
    () => null,
  );
}

function blocked(message: string): ModelFound {
  const failure = downloadFailure(
    "target_taken",
    message,
    "It is not replaced, because Holdfast did not put it there: move it away, or correct the model in machine.yaml.",
  );
  return { kind: "blocked", failure };
}
