import { execFile } from "node:child_process";
import { readFile, readlink } from "node:fs/promises";
import { promisify } from "node:util";
import type { Clock } from "../clock.ts";

const run = promisify(execFile);
const PS_TIMEOUT_MS = 5_000;

/** Ends waits between looks at a process. */
const POLL_MS = 20;

/**
 * Whether a process lives. One that has ended and was never waited for (a zombie, as left behind in
 * containers whose first process reaps nothing) counts as dead.
 */
export async function isProcessAlive(pid: number): Promise<boolean> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  if (!takesSignals(pid)) return false;
  const stat = await readLinuxStat(pid);
  // No entry: gone since the line above, or hidden from us (hidepid), or not Linux. Asked again.
  if (stat === undefined) return takesSignals(pid);
  return stat.state !== "Z" && stat.state !== "X";
}

function takesSignals(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"; // Somebody else's, but alive.
  }
}

/**
 * When a process started, as text that is only good for comparing with itself: pid and start time
 * together name one process for as long as the machine runs. Undefined when the process is gone or
 * the platform does not say. Linux: boot id and ticks since boot; elsewhere what `ps` prints.
 */
export async function processStartTime(pid: number): Promise<string | undefined> {
  if (process.platform === "linux") {
    const stat = await readLinuxStat(pid);
    if (stat === undefined || stat.state === "Z" || stat.state === "X") return undefined;
    const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
    return `${boot.trim()}:${stat.startTicks}`;
  }
  if (process.platform === "win32") {
    return await output("powershell", [
      "-NoProfile",
      "-Command",
      `(Get-Process -Id ${pid}).StartTime.ToFileTimeUtc()`,
    ]);
  }
  return await output("ps", ["-o", "lstart=", "-p", String(pid)]);
}

/** Whether `pid` lives and is the very process that had this start time. */
export async function isSameProcess(pid: number, startTime: string | undefined): Promise<boolean> {
  if (!(await isProcessAlive(pid))) return false;
  // A platform that cannot say when a process started leaves only the pid to go by.
  return startTime === undefined || (await processStartTime(pid)) === startTime;
}

/** The command line of a process, arguments separated by spaces; undefined when it is not to be had. */
export async function processCommand(pid: number): Promise<string | undefined> {
  if (process.platform === "linux") {
    const text = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => undefined);
    return text?.replaceAll("\0", " ").trim();
  }
  if (process.platform === "win32") return undefined;
  return await output("ps", ["-o", "command=", "-p", String(pid)]);
}

/** The folder a process runs in; undefined where the platform does not say (all but Linux). */
export async function processFolder(pid: number): Promise<string | undefined> {
  if (process.platform !== "linux") return undefined;
  return await readlink(`/proc/${pid}/cwd`).catch(() => undefined);
}

/** Sends a signal; false when the process is gone already. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}

/** Waits until a process has ended; false when it still lives after `timeoutMs`. */
export async function waitForExit(pid: number, timeoutMs: number, clock: Clock): Promise<boolean> {
  const deadline = clock.elapsed() + timeoutMs;
  while (await isProcessAlive(pid)) {
    if (clock.elapsed() >= deadline) return false;
    await clock.sleep(POLL_MS);
  }
  return true;
}

interface LinuxStat {
  readonly state: string;
  readonly startTicks: string;
}

async function readLinuxStat(pid: number): Promise<LinuxStat | undefined> {
  if (process.platform !== "linux") return undefined;
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  return text === undefined ? undefined : parseLinuxStat(text);
}

/**
 * Reads `/proc/<pid>/stat`. The second field is the program's name in parentheses and may itself
 * hold spaces and parentheses, so fields are counted from the last closing one.
 */
export function parseLinuxStat(text: string): LinuxStat | undefined {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const state = fields[0];
  const startTicks = fields[19]; // Field 22, counted from field 3.
  return state === undefined || startTicks === undefined ? undefined : { state, startTicks };
}

async function output(command: string, args: readonly string[]): Promise<string | undefined> {
  try {
    const { stdout } = await run(command, [...args], { timeout: PS_TIMEOUT_MS, windowsHide: true });
    return stdout.trim() === "" ? undefined : stdout.trim();
  } catch {
    return undefined; // No such process, or no such program: both mean that nothing is known.
  }
}
