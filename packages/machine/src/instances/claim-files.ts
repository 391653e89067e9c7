/**
 * Files of `host-locks.ts` in folders that every account of the host may write to, so nothing in them
 * is believed or followed: files are made only where nothing is (`O_EXCL`), put in place by renaming
 * (which replaces a link instead of following it), and opened without following links or waiting for a
 * pipe's other end.
 */
import { createHash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { chmod, lstat, mkdir, open, readdir, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { parseClaim, type ClaimFile } from "./lock-claims.ts";

/** What is locked, as the beginning of a file name. */
export type ClaimKey = string & { readonly __brand: "ClaimKey" };

const FOLDER_MODE = 0o1777;
/** Readable by all: the reason for a refusal is in it. */
const FILE_MODE = 0o644;
const MAX_BYTES = 8_192;
/** Claims read for one thing; more are nobody's honest doing. */
const MAX_CLAIMS = 200;
const MAX_FILES = 20_000;

/** The claims of the host. */
export class ClaimFiles {
  readonly #folders: readonly string[];

  constructor(folders: readonly string[]) {
    this.#folders = folders;
  }

  /** A name that is fit for a file, whatever the thing is called. */
  key(kind: string, text: string): ClaimKey {
    const digest = createHash("sha256").update(text).digest("hex").slice(0, 24);
    return `${kind}-${digest}` as ClaimKey;
  }

  /** Writes a claim, in place of one of the same id. It is never seen half written. */
  async write(key: ClaimKey, id: string, text: string): Promise<void> {
    const folder = await this.#usableFolder();
    const temporary = join(folder, `.${randomBytes(12).toString("hex")}.tmp`);
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const file = await open(temporary, flags, FILE_MODE);
    try {
      await file.writeFile(text);
      await file.chmod(FILE_MODE); // Whatever the umask took away.
    } finally {
      await file.close();
    }
    try {
      await rename(temporary, join(folder, fileName(key, id)));
    } catch (error) {
      await unlink(temporary).catch(() => undefined);
      throw error;
    }
  }

  /** Removes a claim, wherever it is. */
  async remove(key: ClaimKey, id: string): Promise<void> {
    for (const folder of this.#folders) await this.removeFile(join(folder, fileName(key, id)));
  }

  /** Removes a file, where this account may. */
  async removeFile(path: string): Promise<void> {
    try {
      await unlink(path);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? "";
      if (!["ENOENT", "ENOTDIR", "EPERM", "EACCES", "EROFS"].includes(code)) throw error;
    }
  }

  /** All claims on a thing, of all folders. Throws when a folder that is there cannot be read. */
  async read(key: ClaimKey): Promise<readonly ClaimFile[]> {
    const claims: ClaimFile[] = [];
    for (const folder of this.#folders) {
      const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT" || error.code === "ENOTDIR") return [];
        throw error;
      });
      const own = names.slice(0, MAX_FILES).filter((name) => name.startsWith(`${key}.`));
      for (const name of own.slice(0, MAX_CLAIMS)) {
        const file = await readClaim(join(folder, name));
        if (file !== undefined) claims.push(file);
      }
    }
    return claims;
  }

  async #usableFolder(): Promise<string> {
    const problems: string[] = [];
    for (const folder of this.#folders) {
      const problem = await prepare(folder);
      if (problem === null) return folder;
      problems.push(`${folder}: ${problem}`);
    }
    throw new Error(
      `expected a folder that every account may write to, found none (${problems.join("; ")}). ` +
        `Make one as root: mkdir -m 1777 ${this.#folders[0] ?? ""}`,
    );
  }
}

function fileName(key: ClaimKey, id: string): string {
  return `${key}.${id}.claim`;
}

/** Null when the folder can be used; else why not. */
async function prepare(folder: string): Promise<string | null> {
  try {
    await mkdir(folder, { mode: FOLDER_MODE });
    await chmod(folder, FOLDER_MODE); // Whatever the umask took away.
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "EEXIST") return message;
  }
  try {
    const info = await lstat(folder);
    if (!info.isDirectory()) return "it is not a folder";
    const isOpen = (info.mode & 0o002) !== 0;
    if (isOpen && (info.mode & 0o1000) === 0) {
      return "all may write to it and it is not sticky, so that anybody could remove a lock";
    }
    const isOwn = info.uid === process.getuid?.();
    return isOpen || isOwn || process.getuid?.() === 0 ? null : "this account may not write to it";
  } catch (error) {
    return (error as Error).message;
  }
}

async function readClaim(path: string): Promise<ClaimFile | undefined> {
  // Without O_NONBLOCK the opening of somebody's named pipe would wait for ever.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(path, flags).catch(() => undefined);
  if (file === undefined) return undefined; // Gone meanwhile, a link, or nobody's honest claim.
  try {
    const info = await file.stat();
    if (!info.isFile() || info.size > MAX_BYTES) return undefined;
    const buffer = Buffer.alloc(MAX_BYTES);
    const { bytesRead } = await file.read(buffer, 0, MAX_BYTES, 0);
    return { path, account: info.uid, claim: parseClaim(buffer.toString("utf8", 0, bytesRead)) };
  } finally {
    await file.close();
  }
}
