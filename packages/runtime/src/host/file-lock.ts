import { readFile, rm, stat } from "node:fs/promises";
import { abortReason, type Abortable, type Clock } from "../clock.ts";
import { createExclusively } from "./exclusive-file.ts";
import { isSameProcess, processStartTime } from "./processes.ts";

/** A guard this old was left by a crash: nobody needs more than some milliseconds under it. */
const GUARD_STALE_MS = 10_000;
const RETRY_MS = 20;

interface LockHolder {
  readonly pid: number;
  readonly startTime?: string;
}

/** What became of one try for a lock. */
export type FileLockTry =
  | {
      readonly kind: "ours";
      /** Gives it back. Safe to call twice. */
      release(): Promise<void>;
    }
  /** `pid` holds it, or did until this moment. */
  | { readonly kind: "theirs"; readonly pid: number };

/** Tries of one call: a dead process's lock is broken, and may be taken by somebody quicker. */
const TRIES = 3;

/**
 * Takes a lock file without waiting for whoever has it, for as long as this process wants it. That of
 * a process that died is taken over, also when its pid was given to another process.
 */
export async function tryFileLock(path: string, clock: Clock): Promise<FileLockTry> {
  for (let tried = 1; ; tried += 1) {
    const holder = await tryAcquire(path);
    if (holder === undefined) return { kind: "ours", release: () => rm(path, { force: true }) };
    if (holder === "free") continue;
    const { pid, startTime } = holder;
    const isLast = tried >= TRIES;
    if (isLast || (await isSameProcess(pid, startTime))) return { kind: "theirs", pid };
    await breakLock(path, clock);
  }
}

/** How a lock is waited for. */
export interface FileLockWait {
  readonly clock: Clock;
  /** It throws when another process still has the lock then. */
  readonly timeoutMs: number;
  /** Ends the waiting with its reason; what runs under the lock listens to it by itself. */
  readonly signal?: Abortable;
}

/** Runs `fn` while holding a lock file. Rejects without having begun it when the lock is not to be had. */
export async function withFileLock<T>(
  path: string,
  options: FileLockWait,
  fn: () => Promise<T>,
): Promise<T> {
  const { clock, signal } = options;
  const deadline = clock.elapsed() + options.timeoutMs;
  for (;;) {
    if (signal?.aborted === true) throw abortReason(signal);
    const lock = await tryFileLock(path, clock);
    if (lock.kind === "ours") {
      try {
        return await fn();
      } finally {
        await lock.release();
      }
    }
    if (clock.elapsed() >= deadline) throw new Error(`${path} is held by process ${lock.pid}`);
    await clock.sleep(RETRY_MS, signal);
  }
}

/** Undefined when the lock is ours now; else who holds it, or held it until this moment. */
async function tryAcquire(path: string): Promise<LockHolder | "free" | undefined> {
  const startTime = await processStartTime(process.pid);
  const mine: LockHolder = { pid: process.pid, ...(startTime === undefined ? {} : { startTime }) };
  return (await createExclusively(path, JSON.stringify(mine))) ? undefined : await readHolder(path);
}

/** Who holds the lock: `free` when there is no file. Pid 0, which never lives, for a torn one. */
async function readHolder(path: string): Promise<LockHolder | "free"> {
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (text === undefined) return "free";
  try {
    const holder = JSON.parse(text) as LockHolder;
    if (Number.isSafeInteger(holder.pid)) return holder;
  } catch {
    // Torn by a crash of the machine: nobody holds it.
  }
  return { pid: 0 };
}

/**
 * Removes a dead process's lock. All who remove one do it under a second file, and look again
 * there: without it the slower of two would remove the lock that the quicker one just took.
 */
async function breakLock(path: string, clock: Clock): Promise<void> {
  const guard = `${path}.break`;
  if (!(await createExclusively(guard, String(process.pid)))) {
    const age = await stat(guard).then(
      (info) => clock.now() - info.mtimeMs,
      () => 0,
    );
    if (age > GUARD_STALE_MS) await rm(guard, { force: true });
    else await clock.sleep(RETRY_MS);
    return;
  }
  try {
    const holder = await readHolder(path);
    // A lock that is free now may be taken before it could be removed: only a dead one stays put.
    if (holder === "free") return;
    if (!(await isSameProcess(holder.pid, holder.startTime))) await rm(path, { force: true });
  } finally {
    await rm(guard, { force: true });
  }
}
