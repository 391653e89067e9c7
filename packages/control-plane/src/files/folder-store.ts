/**
 * Blobs as files in a folder: `ab/<sha256>`. Several replicas may share it (NFS).
 *
 * A blob is written to `tmp/` under a name of its own, hashed on the way, flushed to the disk, and
 * only then renamed to where it is looked for (model.ts I1); the folder entry is flushed as well, so
 * that `stored` survives a power cut. What a crash leaves behind in `tmp/` is swept at start.
 *
 * One level of 256 folders, made at start, and not two: with two nearly every blob of the first
 * 65,536 made a folder, whose flushing cost more CPU than the blob's own. File descriptors instead
 * of `FileHandle`s: a put takes 0.2 ms of our CPU instead of 0.7 (20 KB, Node 20; flushing apart).
 */
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import { mkdir, open, readdir, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type { Clock, IdSource } from "@holdfast/runtime";
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

/** How to open a folder store. */
export interface FolderStoreOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly ids: IdSource;
  /** Opens a file for writing; tests bring a disk that is full. */
  readonly openFile?: OpenFile;
}

/** Opens a new file and gives its descriptor. */
export type OpenFile = (path: string, flags: "wx", mode: number) => Promise<number>;

/** Files in `tmp/` older than this belong to no upload that is still under way. */
const STALE_TEMP_MS = 24 * 60 * 60 * 1000;
/** Less free space than this counts as full: the database may share the disk. */
const MIN_FREE_BYTES = 64 * 1024 * 1024;
const READ_CHUNK_BYTES = 256 * 1024;
const FILE_MODE = 0o640;
const SHA256 = /^[0-9a-f]{64}$/;
const FOLDERS = 256;

const openFd = promisify(fs.open);
const writeFd = promisify(fs.write);
const syncFd = promisify(fs.fsync);
const closeFd = promisify(fs.close);
const readFd = promisify(fs.read);
const statFd = promisify(fs.fstat);
const rename = promisify(fs.rename);

/** Opens (and makes) a folder store. Throws when the folder cannot be made: the setting is wrong. */
export async function openFolderStore(options: FolderStoreOptions): Promise<BlobStore> {
  const temp = join(options.path, "tmp");
  await mkdir(temp, { recursive: true, mode: 0o750 });
  for (let n = 0; n < FOLDERS; n += 1) {
    await mkdir(join(options.path, n.toString(16).padStart(2, "0")), {
      recursive: true,
      mode: 0o750,
    });
  }
  await syncFolder(options.path);
  await sweepTemp(temp, options.clock.now());
  const openFile: OpenFile = options.openFile ?? openFd;
  return createFolderStore(options.path, temp, options.ids, openFile);
}

function createFolderStore(
  root: string,
  temp: string,
  ids: IdSource,
  openFile: OpenFile,
): BlobStore {
  const folders = createFolderSync();
  const unavailable = (what: string, error: unknown): StoreUnavailable => ({
    kind: "unavailable",
    reason: `${what} in ${root}: ${failureText(error)}`,
    cause: error,
  });

  return {
    description: `folder ${root}`,
    async put(blob) {
      const to = place(root, blob.sha256);
      const from = join(temp, `${ids.next("tmp")}-${process.pid}`);
      let file: number;
      try {
        file = await openFile(from, "wx", FILE_MODE);
      } catch (error) {
        return unavailable("could not make a file", error);
      }
      let isMoved = false;
      try {
        const written = await writeHashed(file, blob);
        if (written.kind === "failed") return unavailable("could not write", written.error);
        if (written.kind === "mismatch") return written;
        try {
          await syncFd(file);
          await moveIntoPlace(root, from, to, folders);
        } catch (error) {
          return unavailable("could not keep a file", error);
        }
        isMoved = true;
        return { kind: "stored" };
      } finally {
        const closed = closeQuietly(file);
        if (!isMoved) await closed.then(() => rm(from, { force: true })).catch(() => undefined);
      }
    },
    async open(sha256, range): Promise<OpenResult> {
      const path = place(root, sha256);
      try {
        return await openForReading(path, range);
      } catch (error) {
        if (errorCode(error) === "ENOENT") return { kind: "missing" };
        return unavailable("could not open a file", error);
      }
    },
    async has(sha256): Promise<HasResult> {
      const path = place(root, sha256);
      try {
        return { kind: "found", sizeBytes: (await stat(path)).size };
      } catch (error) {
        if (errorCode(error) === "ENOENT") return { kind: "missing" };
        return unavailable("could not look for a file", error);
      }
    },
    async remove(sha256) {
      const path = place(root, sha256);
      try {
        await rm(path, { force: true });
        return { kind: "removed" };
      } catch (error) {
        return unavailable("could not remove a file", error);
      }
    },
    async probe(): Promise<ProbeResult> {
      try {
        const isFull = await tryWriting(root, join(temp, `${ids.next("tmp")}-probe`), openFile);
        if (!isFull) return { kind: "ready" };
        return { kind: "unavailable", reason: `the disk of ${root} is full` };
      } catch (error) {
        return unavailable("could not write", error);
      }
    },
    close: () => folders.close(),
  };
}

function place(root: string, sha256: string): string {
  // Names of files come from here alone, so none can leave the root.
  if (!SHA256.test(sha256)) throw new RangeError(`not a SHA-256: ${sha256}`);
  return join(root, sha256.slice(0, 2), sha256);
}

async function moveIntoPlace(
  root: string,
  from: string,
  to: string,
  folders: FolderSync,
): Promise<void> {
  const folder = dirname(to);
  try {
    await rename(from, to);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    // Somebody removed the folder since we made it.
    await mkdir(folder, { recursive: true, mode: 0o750 });
    await syncFolder(root);
    folders.distrust(folder);
    await rename(from, to);
  }
  await folders.sync(folder);
}

/** Flushes folders, each kept open from its first time on: opening it costs as much as the flushing. */
interface FolderSync {
  sync(path: string): Promise<void>;
  /** The folder at this path is another one now: from here on it is opened each time. */
  distrust(path: string): void;
  close(): Promise<void>;
}

function createFolderSync(): FolderSync {
  const opened = new Map<string, Promise<number>>();
  const distrusted = new Set<string>();
  const openOnce = (path: string): Promise<number> => {
    const known = opened.get(path) ?? openFd(path, "r");
    opened.set(path, known);
    return known;
  };
  return {
    async sync(path) {
      if (process.platform === "win32" || distrusted.has(path)) return syncFolder(path);
      try {
        await syncFd(await openOnce(path));
      } catch {
        // A network file system may have given the handle up. It stays open until the end: closed
        // now, its number could be another file's while somebody still flushes by it.
        distrusted.add(path);
        await syncFolder(path);
      }
    },
    distrust: (path) => void distrusted.add(path),
    async close() {
      for (const file of opened.values()) await file.then(closeFd).catch(() => undefined);
      opened.clear();
    },
  };
}

/** Writes and removes a small file. True when there is too little room left for more. */
async function tryWriting(root: string, path: string, openFile: OpenFile): Promise<boolean> {
  const { bavail, bsize } = await statfs(root);
  if (bavail * bsize < MIN_FREE_BYTES) return true;
  const file = await openFile(path, "wx", FILE_MODE);
  try {
    await writeAll(file, Buffer.from("probe"));
  } finally {
    await closeFd(file);
    await rm(path, { force: true });
  }
  return false;
}

type Written =
  | { readonly kind: "written" }
  | Extract<PutResult, { kind: "mismatch" }>
  | { readonly kind: "failed"; readonly error: unknown };

/** Errors of the disk are returned, errors of the body thrown: they are somebody else's. */
async function writeHashed(file: number, blob: PutBlob): Promise<Written> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  for await (const chunk of blob.body) {
    hash.update(chunk);
    sizeBytes += chunk.byteLength;
    // One byte too many is enough to know; the rest need not be written.
    if (sizeBytes > blob.sizeBytes) break;
    try {
      await writeAll(file, chunk);
    } catch (error) {
      return { kind: "failed", error };
    }
  }
  const sha256 = hash.digest("hex");
  return sizeBytes === blob.sizeBytes && sha256 === blob.sha256
    ? { kind: "written" }
    : { kind: "mismatch", sha256, sizeBytes };
}

/** A write may take only a part. */
async function writeAll(file: number, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.byteLength;) {
    at += (await writeFd(file, chunk, at)).bytesWritten;
  }
}

/** A small file is read at once: a stream of it costs three times the CPU. */
async function openForReading(path: string, range: ByteRange | undefined): Promise<OpenResult> {
  const file = await openFd(path, "r");
  try {
    const sizeBytes = (await statFd(file)).size;
    const start = range?.start ?? 0;
    const length = (range?.end ?? sizeBytes - 1) - start + 1;
    if (length > READ_CHUNK_BYTES) {
      return { kind: "found", sizeBytes, body: readFileChunks(path, range) };
    }
    return { kind: "found", sizeBytes, body: await readAll(file, start, length) };
  } finally {
    void closeQuietly(file);
  }
}

/** What was flushed or read is done with: nobody needs to wait for the end of its descriptor. */
async function closeQuietly(file: number): Promise<void> {
  await closeFd(file).catch(() => undefined);
}

/** A read may bring only a part. Throws when the file ends early. */
async function readAll(file: number, start: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  for (let at = 0; at < length;) {
    const { bytesRead } = await readFd(file, bytes, at, length - at, start + at);
    if (bytesRead === 0) throw new Error(`the file ends after ${start + at} bytes`);
    at += bytesRead;
  }
  return bytes;
}

/** Opened when reading starts, so that a body nobody reads holds no file open. */
async function* readFileChunks(
  path: string,
  range: ByteRange | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  const file = await open(path, "r");
  try {
    yield* file.createReadStream({
      highWaterMark: READ_CHUNK_BYTES,
      autoClose: false,
      ...range,
    }) as AsyncIterable<Uint8Array>;
  } finally {
    await file.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  // Windows opens no folders; its file systems keep the order of metadata by themselves.
  if (process.platform === "win32") return;
  const folder = await openFd(path, "r");
  try {
    await syncFd(folder);
  } finally {
    await closeFd(folder);
  }
}

async function sweepTemp(temp: string, now: number): Promise<void> {
  for (const name of await readdir(temp)) {
    const path = join(temp, name);
    try {
      if ((await stat(path)).mtimeMs < now - STALE_TEMP_MS) await rm(path, { force: true });
    } catch {
      // Another replica swept it at the same time.
    }
  }
}

function errorCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}

function failureText(error: unknown): string {
  switch (errorCode(error)) {
    case "ENOSPC":
    case "EDQUOT":
      return "the disk is full";
    case "EACCES":
    case "EPERM":
      return "no permission to write";
    case "EROFS":
      return "the file system is read-only";
    case "ENOENT":
      return "the folder is gone";
    case undefined:
    default:
      return error instanceof Error ? error.message : String(error);
  }
}
