/**
 * The right to run what is in a machine folder. One agent has it at a time: two of them would adopt the
 * same instances, and the end of the one would end what the other serves. Whoever does not get it
 * touches nothing there, and takes over when it is free; the lock of one that died is free at once.
 */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { AgentLog } from "@holdfast/agent";
import type { Clock } from "@holdfast/runtime";
import { tryFileLock, type FileLockTry } from "@holdfast/runtime/host";

/** What it is made of. */
export interface FolderOwnerOptions {
  /** The machine folder. */
  readonly root: string;
  /** Takes its lock, or tells who has it. */
  readonly tryLock: () => Promise<FileLockTry>;
  readonly clock: Clock;
  readonly log: AgentLog;
}

/** A try costs one look at a file and at a process. */
const LOOK_EVERY_MS = 500;

/** The lock of a machine folder as a file. */
export async function lockFolder(file: string, clock: Clock): Promise<FileLockTry> {
  await mkdir(dirname(file), { recursive: true });
  return await tryFileLock(file, clock);
}

/** See the head of this file. */
export class FolderOwner {
  readonly #options: FolderOwnerOptions;
  #lock: Extract<FileLockTry, { kind: "ours" }> | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #isOver = false;

  constructor(options: FolderOwnerOptions) {
    this.#options = options;
  }

  isOwner(): boolean {
    return this.#lock !== undefined;
  }

  /** Nobody else has it, as far as can be told. */
  async isFree(): Promise<boolean> {
    if (this.isOwner()) return true;
    const lock = await this.#options.tryLock().catch(() => undefined);
    if (lock?.kind === "ours") await lock.release();
    return lock?.kind !== "theirs";
  }

  /** Null when the folder is ours now; else why it is not, in words. Never rejects; safe to repeat. */
  tryTake(): Promise<string | null> {
    const taken = this.#last.then(() => this.#tryTake());
    this.#last = taken;
    return taken;
  }

  /** Until the folder is ours; `onHeld` is told why it is not yet. Rejects with the signal's reason. */
  async untilTaken(onHeld: (reason: string) => void, signal: AbortSignal): Promise<void> {
    const { clock, log, root } = this.#options;
    let told: string | null = null;
    for (;;) {
      const reason = await this.tryTake();
      signal.throwIfAborted();
      if (reason === null) break;
      if (reason !== told) {
        log.warn({ reason }, "the machine folder is not this agent's");
        onHeld(reason);
      }
      told = reason;
      await clock.sleep(LOOK_EVERY_MS, signal);
    }
    if (told !== null) log.info({ root }, "the machine folder is free and taken over");
  }

  /** Gives it back, for good. Safe to call twice. */
  async release(): Promise<void> {
    this.#isOver = true;
    await this.#last;
    const lock = this.#lock;
    this.#lock = undefined;
    await lock?.release();
  }

  async #tryTake(): Promise<string | null> {
    const { root, tryLock } = this.#options;
    if (this.#lock !== undefined) return null;
    if (this.#isOver) return `${root} was given back`;
    try {
      const tried = await tryLock();
      if (tried.kind === "theirs") return heldText(root, tried.pid);
      this.#lock = tried;
      return null;
    } catch (error) {
      // A disk that is full or of another account: it may be mended at any time.
      return `the machine folder ${root} cannot be locked for this agent: ${(error as Error).message}`;
    }
  }
}

function heldText(root: string, pid: number): string {
  return (
    `the agent of process ${pid} runs what is in ${root}; this one touches nothing there and takes over ` +
    `when that process ends: stop it, or give each agent a machine folder of its own (HOLDFAST_MACHINE_DIR)`
  );
}
