/** Starts the process of a machine so that it outlives this one. */
import { spawn } from "node:child_process";
import { open } from "node:fs/promises";
import { isProcessAlive, processStartTime } from "@holdfast/runtime/host";

/** What is started. */
export interface ProcessStart {
  /** The program, found in the PATH of `env`, and its arguments. */
  readonly command: readonly string[];
  readonly folder: string;
  readonly env: Readonly<Record<string, string>>;
  /** Takes both outputs. */
  readonly logFile: string;
  /** Called when it ends while this process watches: its exit code or signal, in words. */
  readonly onExit: (how: string) => void;
}

/** What became of it. */
export type ProcessStarted =
  | { readonly kind: "started"; readonly pid: number; readonly startTime: string | null }
  /** It ended before it was looked at. */
  | { readonly kind: "ended" }
  /** No process was made. `code` is the system's. */
  | { readonly kind: "failed"; readonly code: string };

/** Starts it in a session of its own. */
export async function startProcess(start: ProcessStart): Promise<ProcessStarted> {
  const [program = "", ...args] = start.command;
  const log = await open(start.logFile, "a", 0o600);
  try {
    const child = spawn(program, args, {
      cwd: start.folder,
      env: { ...start.env },
      detached: true,
      windowsHide: true,
      stdio: ["ignore", log.fd, log.fd],
    });
    child.once("exit", (code, signal) =>
      start.onExit(
        signal === null ? `it ended with exit code ${code}` : `it was ended by ${signal}`,
      ),
    );
    const failure = await new Promise<string | undefined>((resolve) => {
      child.once("spawn", () => resolve(undefined));
      child.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    });
    const { pid } = child;
    if (failure !== undefined || pid === undefined) {
      return { kind: "failed", code: failure ?? "UNKNOWN" };
    }
    child.unref();
    const startTime = (await processStartTime(pid)) ?? null;
    // No start time: a platform that does not tell, or it is gone already.
    if (startTime === null && !(await isProcessAlive(pid))) return { kind: "ended" };
    return { kind: "started", pid, startTime };
  } finally {
    await log.close();
  }
}
