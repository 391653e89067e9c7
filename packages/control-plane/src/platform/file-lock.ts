import { link, readFile, rm, stat, writeFile } from "node:fs/promises";
import type { Clock } from "@holdfast/runtime";
import { isSameProcess, processStartTime } from "./processes.ts";

/** A guard this old was left by a crash: nobody needs more than some milliseconds under it. */
const GUARD_STALE_MS = 10_000;
const RETRY_MS = 20;

interface LockHolder {
  readonly pid: number;
  readonly startTime?: string;
}

/**
 * Runs `fn` while holding a lock file, waiting for other processes up to `timeoutMs` (then throws).
 * The lock of a process that died is taken over, also when its pid was given to another process.
 */
export async function withFileLock<T>(
  path: string,
  options: { readonly clock: Clock; readonly timeoutMs: number },
  fn: () => Promise<T>,
): Promise<T> {
  const { clock } = options;
  const deadline = clock.elapsed() + options.timeoutMs;
  for (;;) {
    const holder = await tryAcquire(path);
    if (holder === undefined) break;
    if (!(await isSameProcess(holder.pid, holder.startTime))) await breakLock(path, clock);
    else if (clock.elapsed() >= deadline) {
      throw new Error(`${path} is held by process ${holder.pid}`);
    } else await clock.sleep(RETRY_MS);
  }
  try {
    return await fn();
  } finally {
    await rm(path, { force: true });
  }
}

let uniqueCounter = 0;

/** Undefined when the lock is ours now; else who holds it. */
async function tryAcquire(path: string): Promise<LockHolder | undefined> {
  const startTime = await processStartTime(process.pid);
  const mine: LockHolder = { pid: process.pid, ...(startTime === undefined ? {} : { startTime }) };
  // Written whole beside it, then linked: a lock is never seen half written.
  const own = `${path}.${process.pid}.${(uniqueCounter += 1)}`;
  await writeFile(own, JSON.stringify(mine), { mode: 0o600 });
  try {
    await link(own, path);
    return undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return await readHolder(path);
  } finally {
    await rm(own, { force: true });
  }
}

async function readHolder(path: string): Promise<LockHolder> {
  try {
    const holder = JSON.parse(await readFile(path, "utf8")) as LockHolder;
    if (Number.isSafeInteger(holder.pid)) return holder;
  } catch {
    // Gone in this moment, or torn by a crash of the machine: nobody holds it.
  }
  return { pid: 0 };
}

/**
 * Removes a dead process's lock. All who remove one do it under a second file, and look again
 * there: without it the slower of two would remove the lock that the quicker one just took.
 */
async function breakLock(path: string, clock: Clock): Promise<void> {
  const guard = `${path}.break`;
  try {
    await writeFile(guard, String(process.pid), { flag: "wx", mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
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
    if (!(await isSameProcess(holder.pid, holder.startTime))) await rm(path, { force: true });
  } finally {
    await rm(guard, { force: true });
  }
}
