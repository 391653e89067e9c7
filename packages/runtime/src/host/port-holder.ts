import { execFile } from "node:child_process";
import { readdir, readFile, readlink } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);
const LSOF_TIMEOUT_MS = 3_000;
/** Processes looked through; beyond that the holder stays unknown. */
const MAX_PROCESSES = 20_000;
const LISTEN = "0A";

/** The process that listens on a TCP port, as far as this account may see it. */
export interface PortHolder {
  readonly pid: number;
  readonly command: string;
}

/** Finds who listens on a port; undefined when that cannot be told. Never throws. */
export async function findPortHolder(port: number): Promise<PortHolder | undefined> {
  try {
    return process.platform === "linux" ? await fromProc(port) : await fromLsof(port);
  } catch {
    return undefined; // It only makes a message better.
  }
}

async function fromProc(port: number): Promise<PortHolder | undefined> {
  const inodes = new Set<string>();
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const text = await readFile(table, "utf8").catch(() => "");
    for (const line of text.split("\n").slice(1)) {
      const fields = line.trim().split(/\s+/);
      const listensOn = Number.parseInt(fields[1]?.split(":")[1] ?? "", 16);
      if (listensOn === port && fields[3] === LISTEN && fields[9] !== undefined) {
        inodes.add(`socket:[${fields[9]}]`);
      }
    }
  }
  if (inodes.size === 0) return undefined;
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  for (const pid of pids.slice(0, MAX_PROCESSES)) {
    const fds = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const fd of fds) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => "");
      if (!inodes.has(target)) continue;
      const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
      return { pid: Number(pid), command: command.replaceAll("\0", " ").trim() };
    }
  }
  return undefined;
}

async function fromLsof(port: number): Promise<PortHolder | undefined> {
  if (process.platform === "win32") return undefined;
  const { stdout } = await run("lsof", ["-nP", `-iTCP:${port}`, "-sTCP:LISTEN", "-Fpc"], {
    timeout: LSOF_TIMEOUT_MS,
  });
  const pid = Number(/^p(\d+)$/m.exec(stdout)?.[1]);
  return pid > 0 ? { pid, command: /^c(.+)$/m.exec(stdout)?.[1] ?? "" } : undefined;
}

const MAX_COMMAND_SHOWN = 120;

/** The holder in words for a message. */
export function holderText(holder: PortHolder | undefined): string {
  if (holder === undefined) return "another process";
  return `process ${holder.pid} (${holder.command.slice(0, MAX_COMMAND_SHOWN) || "unknown"})`;
}
