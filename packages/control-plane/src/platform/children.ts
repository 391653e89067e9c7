import { spawn } from "node:child_process";
import { open } from "node:fs/promises";
import type { Clock } from "@holdfast/runtime";
import {
  isSameProcess,
  processStartTime,
  signalProcess,
  waitForExit,
} from "@holdfast/runtime/host";
import type { RecordedChild } from "./owner-file.ts";

/** A program to run on its own: it outlives a kill of this process. */
export interface DetachedChildOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Takes both outputs; appended to. */
  readonly logFile: string;
  readonly port?: number;
}

/** A child that was started. Put its record into the owner file before anything depends on it. */
export interface DetachedChild {
  readonly record: RecordedChild;
  /** Resolves when it ended while this process watched: exit code, or the signal, in words. */
  readonly ended: Promise<string>;
}

/** Starts a program in a session of its own, with its output in a file. Throws when it cannot be. */
export async function spawnDetachedChild(options: DetachedChildOptions): Promise<DetachedChild> {
  const log = await open(options.logFile, "a", 0o600);
  try {
    const child = spawn(options.command, [...options.args], {
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      env: { ...options.env },
      detached: true,
      windowsHide: true,
      stdio: ["ignore", log.fd, log.fd],
    });
    const ended = new Promise<string>((resolve) => {
      child.once("exit", (code, signal) =>
        resolve(signal === null ? `exit code ${code ?? "unknown"}` : `signal ${signal}`),
      );
    });
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
    child.unref();
    const pid = child.pid ?? 0;
    const startTime = await processStartTime(pid);
    const record: RecordedChild = {
      name: options.name,
      pid,
      ...(startTime === undefined ? {} : { startTime }),
      ...(options.port === undefined ? {} : { port: options.port }),
    };
    return { record, ended };
  } finally {
    await log.close();
  }
}

/** What became of a child left by an owner that died. */
export type AdoptionOutcome = "adopted" | "gone" | "ended";

/**
 * Looks at a recorded child: `gone` when it has ended (or its pid is another process now), `adopted`
 * when it lives and `isWanted` says yes, else it is ended.
 */
export async function adoptOrEnd(
  child: RecordedChild,
  options: {
    readonly clock: Clock;
    readonly isWanted: (child: RecordedChild) => Promise<boolean>;
    readonly graceMs?: number;
  },
): Promise<AdoptionOutcome> {
  if (!(await isSameProcess(child.pid, child.startTime))) return "gone";
  if (await options.isWanted(child)) return "adopted";
  await endChild(child, options);
  return "ended";
}

const DEFAULT_GRACE_MS = 10_000;
const KILL_WAIT_MS = 5_000;

/**
 * Ends a child and whatever it started in its session: asked first, killed after `graceMs`. Does
 * nothing when the process on record is gone.
 */
export async function endChild(
  child: RecordedChild,
  options: { readonly clock: Clock; readonly graceMs?: number },
): Promise<void> {
  const { clock, graceMs = DEFAULT_GRACE_MS } = options;
  if (!(await isSameProcess(child.pid, child.startTime))) return;
  signalProcess(child.pid, "SIGTERM");
  if (await waitForExit(child.pid, graceMs, clock)) return;
  // The whole group: a launcher that is killed would leave what it launched.
  if (process.platform === "win32" || !signalProcess(-child.pid, "SIGKILL")) {
    signalProcess(child.pid, "SIGKILL");
  }
  if (!(await waitForExit(child.pid, KILL_WAIT_MS, clock))) {
    throw new Error(`${child.name} (process ${child.pid}) does not end`);
  }
}
