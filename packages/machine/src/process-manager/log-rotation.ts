/**
 * Keeps the log files of processes within a size. The processes write their files themselves and keep
 * them open, so a file is not renamed: its older part is copied into an archive and then cut off at
 * the front, in place. Renaming it and `pm2 reloadLogs` was tried and loses what is printed meanwhile.
 *
 * `file.1` is the newest archive. At every instant each byte is in the file, in an archive, or in
 * `file.rotating`; a rotation that was killed is put right by the next one (I1).
 */
import { execFile } from "node:child_process";
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { open, readdir, rename, rm, stat, statfs, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import type { Clock } from "@holdfast/runtime";
import { withFileLock } from "@holdfast/runtime/host";
import { decideRotation, type LogLimits } from "./log-rotation-plan.ts";

const run = promisify(execFile);
const COPY_BYTES = 256 * 1024;
const CUT_TIMEOUT_MS = 30_000;
const LOCK_TIMEOUT_MS = 60_000;
/** Archives that are looked for; more than any limit keeps. */
const ARCHIVES_MAX = 1_000;

/** What became of a file. */
export type RotationOutcome =
  | { readonly kind: "kept" }
  | {
      readonly kind: "rotated";
      readonly archivedBytes: number;
      /** Beyond the total limit when it was looked at: gone. */
      readonly droppedBytes: number;
      /**
       * `collapse`: no byte was lost. `truncate`, on file systems that cannot cut at the front (others
       * than ext4 and XFS): what was written in the microseconds between last read and cut is lost.
       */
      readonly method: "collapse" | "truncate";
    };

/** What rotation needs. */
export interface RotationDeps {
  readonly clock: Clock;
  /** Cuts the first bytes off a file in place; false where the file system cannot. */
  readonly collapse?: (file: string, bytes: number) => Promise<boolean>;
}

/** Rotates one log file if it is due. Safe beside a writer, and after a kill at any line. */
export async function rotateLogFile(
  file: string,
  limits: LogLimits,
  deps: RotationDeps,
): Promise<RotationOutcome> {
  const sizeBytes = (await sizeOf(file)) ?? 0;
  const archives = await readArchives(file);
  const first = decideRotation({ sizeBytes, archives, limits, blockBytes: 1 });
  const isUnfinished = (await sizeOf(rotatingOf(file))) !== undefined;
  if (first.kind === "keep" && first.remove.length === 0 && !isUnfinished) return { kind: "kept" };
  return await withFileLock(
    `${file}.lock`,
    { clock: deps.clock, timeoutMs: LOCK_TIMEOUT_MS },
    async () => {
      await finishEarlier(file);
      return await rotateLocked(file, limits, deps.collapse ?? collapseFile);
    },
  );
}

async function rotateLocked(
  file: string,
  limits: LogLimits,
  collapse: NonNullable<RotationDeps["collapse"]>,
): Promise<RotationOutcome> {
  const sizeBytes = await sizeOf(file);
  if (sizeBytes === undefined) return { kind: "kept" };
  const archives = await readArchives(file);
  const blockBytes = (await statfs(file)).bsize;
  const decision = decideRotation({ sizeBytes, archives, limits, blockBytes });
  for (const index of decision.remove) await rm(`${file}.${index}`, { force: true });
  if (decision.kind === "keep") return { kind: "kept" };
  const { dropBytes: droppedBytes, archiveBytes } = decision;
  const isDropped = droppedBytes === 0 || (await collapse(file, droppedBytes));
  const from = isDropped ? 0 : droppedBytes;
  if (archiveBytes > 0) await copyPart(file, from, from + archiveBytes);
  if (isDropped && (archiveBytes === 0 || (await collapse(file, archiveBytes)))) {
    await finishEarlier(file);
    return { kind: "rotated", archivedBytes: archiveBytes, droppedBytes, method: "collapse" };
  }
  const archivedBytes = copyRestAndTruncate(file, from + archiveBytes) - from;
  await finishEarlier(file);
  return { kind: "rotated", archivedBytes, droppedBytes, method: "truncate" };
}

/**
 * I1: makes an archive of `file.rotating` if that was cut off the file; else the file still begins
 * with it, and it is removed.
 */
async function finishEarlier(file: string): Promise<void> {
  const rotating = rotatingOf(file);
  const size = await sizeOf(rotating);
  if (size === undefined) return;
  if (size === 0 || (await beginsWith(file, rotating, size))) {
    await rm(rotating, { force: true });
    return;
  }
  const archives = await readArchives(file);
  for (const { index } of archives.toReversed()) {
    await rename(`${file}.${index}`, `${file}.${index + 1}`);
  }
  await rename(rotating, `${file}.1`);
}

async function beginsWith(file: string, copy: string, copyBytes: number): Promise<boolean> {
  if (((await sizeOf(file)) ?? 0) < copyBytes) return false;
  return await withFiles([file, "r"], [copy, "r"], async (a, b) => {
    const [ofA, ofB] = [Buffer.alloc(COPY_BYTES), Buffer.alloc(COPY_BYTES)];
    for (let at = 0; at < copyBytes; at += COPY_BYTES) {
      const want = Math.min(COPY_BYTES, copyBytes - at);
      await a.read(ofA, 0, want, at);
      await b.read(ofB, 0, want, at);
      if (!ofA.subarray(0, want).equals(ofB.subarray(0, want))) return false;
    }
    return true;
  });
}

async function copyPart(file: string, from: number, to: number): Promise<void> {
  await withFiles([file, "r"], [rotatingOf(file), "w"], async (source, target) => {
    const buffer = Buffer.alloc(COPY_BYTES);
    for (let at = from; at < to;) {
      const { bytesRead } = await source.read(buffer, 0, Math.min(COPY_BYTES, to - at), at);
      if (bytesRead === 0) break;
      await target.writeFile(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
    await target.sync(); // Before the cut: a power failure must not take both.
  });
}

async function withFiles<T>(
  one: readonly [path: string, flags: string],
  other: readonly [path: string, flags: string],
  fn: (one: FileHandle, other: FileHandle) => Promise<T>,
): Promise<T> {
  const first = await open(...one);
  try {
    const second = await open(other[0], other[1], 0o640);
    try {
      return await fn(first, second);
    } finally {
      await second.close();
    }
  } finally {
    await first.close();
  }
}

/**
 * All from `from` on into the copy, and the file empty, without a pause in between: the end of the
 * file is read again until nothing is there. Answers the position it came to.
 */
function copyRestAndTruncate(file: string, from: number): number {
  const source = openSync(file, "r+");
  const target = openSync(rotatingOf(file), "a", 0o640);
  try {
    const buffer = Buffer.alloc(COPY_BYTES);
    let at = from;
    while (fstatSync(source).size > at) {
      const got = readSync(source, buffer, 0, COPY_BYTES, at);
      for (let done = 0; done < got;) done += writeSync(target, buffer, done, got - done);
      at += got;
    }
    ftruncateSync(source, 0);
    return at;
  } finally {
    closeSync(source);
    closeSync(target);
  }
}

/**
 * Linux takes whole blocks out of a file and moves up the rest, under the lock that every write takes:
 * an appending writer goes on at the new end. Node has no call for it; `fallocate` of util-linux has.
 */
async function collapseFile(file: string, bytes: number): Promise<boolean> {
  const args = ["--collapse-range", "--offset", "0", "--length", String(bytes), file];
  const env = { PATH: "/usr/local/bin:/usr/bin:/bin" };
  return await run("fallocate", args, { timeout: CUT_TIMEOUT_MS, env }).then(
    () => true,
    () => false, // No such program, or a file system that cannot: the file is as it was.
  );
}

function rotatingOf(file: string): string {
  return `${file}.rotating`;
}

async function sizeOf(path: string): Promise<number | undefined> {
  return await stat(path).then(
    (info) => info.size,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    },
  );
}

/** The newest first. */
async function readArchives(file: string): Promise<{ index: number; sizeBytes: number }[]> {
  const prefix = `${basename(file)}.`;
  const names = await readdir(dirname(file)).catch((): string[] => []);
  const indexes = names
    .filter((name) => name.startsWith(prefix))
    .map((name) => name.slice(prefix.length))
    .filter((end) => /^[1-9]\d{0,5}$/.test(end))
    .map(Number)
    .sort((a, b) => a - b);
  const found: { index: number; sizeBytes: number }[] = [];
  for (const index of indexes.slice(0, ARCHIVES_MAX)) {
    const sizeBytes = await sizeOf(join(dirname(file), `${prefix}${index}`));
    if (sizeBytes !== undefined) found.push({ index, sizeBytes });
  }
  return found;
}
