/**
 * Reads `/proc`. Its files are made by the kernel from memory while they are read: reading one at once
 * takes some ten microseconds and waits for no disk, handing it to the thread pool costs several times
 * that.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { readFile } from "node:fs/promises";

/** One line of the process table. */
export interface ProcStat {
  readonly pid: number;
  readonly state: string;
  readonly parent: number;
  readonly startTicks: string;
}

/** `/proc/<pid>/stat`; undefined when there is no such process. */
export function readStat(pid: number): ProcStat | undefined {
  const text = readProc(`${pid}/stat`);
  return text === undefined ? undefined : parseStat(pid, text);
}

/** Fields are counted from the last `)`: the program's name before it may hold anything. */
export function parseStat(pid: number, text: string): ProcStat | undefined {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [state, parent] = fields;
  const startTicks = fields[19]; // Field 22, counted from field 3.
  if (state === undefined || parent === undefined || startTicks === undefined) return undefined;
  return { pid, state, parent: Number(parent), startTicks };
}

/** Processes looked at; beyond that the rest is not seen. */
const MAX_PROCESSES = 50_000;

/** Pids of all processes. */
export function allPids(): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .slice(0, MAX_PROCESSES)
    .map(Number);
}

/** A file below `/proc`; undefined when it, or its process, is not there or is not ours to read. */
export function readProc(path: string): string | undefined {
  try {
    return readFileSync(`/proc/${path}`, "utf8");
  } catch {
    return undefined;
  }
}

/** Variables of a process as it was started; undefined when they are not ours to read. */
export function readEnvironment(pid: number): ReadonlyMap<string, string> | undefined {
  const text = readProc(`${pid}/environ`);
  return text === undefined ? undefined : parseEnvironment(text);
}

/** Variables as `/proc/<pid>/environ` has them. */
export function parseEnvironment(text: string): ReadonlyMap<string, string> {
  return new Map(
    text
      .split("\0")
      .filter((pair) => pair.indexOf("=") > 0)
      .map((pair): [string, string] => {
        const at = pair.indexOf("=");
        return [pair.slice(0, at), pair.slice(at + 1)];
      }),
  );
}

const COMMAND_MAX = 200;

/** Command line, for a message. */
export function readCommand(pid: number): string {
  return (readProc(`${pid}/cmdline`) ?? "").replaceAll("\0", " ").trim().slice(0, COMMAND_MAX);
}

/** Value of the last `--port` of a command line: of an option given twice that one counts. */
export function portArgument(args: readonly string[]): number | undefined {
  const port = Number(args[args.lastIndexOf("--port") + 1]);
  return args.includes("--port") && Number.isInteger(port) && port > 0 ? port : undefined;
}

/** State `TCP_LISTEN` in `/proc/net/tcp`. */
const LISTEN = "0A";

/**
 * Listening TCP ports and the inodes of their sockets, of both families. Not at once as the others: the
 * kernel walks its whole table of sockets, 20 ms on a large host with hardly a connection.
 */
export async function readListeners(): Promise<ReadonlyMap<number, readonly string[]>> {
  const tables = await Promise.all(
    ["/proc/net/tcp", "/proc/net/tcp6"].map((path) => readFile(path, "utf8").catch(() => "")),
  );
  return parseListeners(tables.join("\n"));
}

/** Ports → socket inodes, from the text of `/proc/net/tcp`. */
export function parseListeners(text: string): ReadonlyMap<number, readonly string[]> {
  const ports = new Map<number, string[]>();
  for (const line of text.split("\n")) {
    // Cheap first: a busy host has thousands of connections and few that listen.
    if (!line.includes(` ${LISTEN} `)) continue;
    const fields = line.trim().split(/\s+/);
    const port = Number.parseInt(fields[1]?.split(":")[1] ?? "", 16);
    const inode = fields[9];
    if (fields[3] !== LISTEN || !Number.isInteger(port) || inode === undefined) continue;
    ports.set(port, [...(ports.get(port) ?? []), inode]);
  }
  return ports;
}

/** Whether a process has one of these sockets open. */
export function holdsSocket(pid: number, inodes: readonly string[]): boolean {
  const wanted = new Set(inodes.map((inode) => `socket:[${inode}]`));
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      try {
        return wanted.has(readlinkSync(`/proc/${pid}/fd/${fd}`));
      } catch {
        return false; // Closed meanwhile.
      }
    });
  } catch {
    return false; // Gone, or another account's.
  }
}

/**
 * Memory of a process in bytes that only its end gives back: anonymous and shared memory. Pages of
 * mapped files are left out, since ComfyUI maps models of many gigabytes which the kernel drops when
 * memory gets short.
 */
export function parseResident(status: string): number {
  const kilobytes = (name: string): number | undefined => {
    const value = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1];
    return value === undefined ? undefined : Number(value);
  };
  const anonymous = kilobytes("RssAnon");
  // Kernels before 4.5 tell only the sum.
  const total =
    anonymous === undefined ? (kilobytes("VmRSS") ?? 0) : anonymous + (kilobytes("RssShmem") ?? 0);
  return total * 1024;
}

/** The processes below each root (itself among them), given the table of all. */
export function treeOf(root: number, table: readonly ProcStat[]): readonly ProcStat[] {
  const childrenOf = new Map<number, ProcStat[]>();
  for (const stat of table) {
    const siblings = childrenOf.get(stat.parent);
    if (siblings === undefined) childrenOf.set(stat.parent, [stat]);
    else siblings.push(stat);
  }
  const tree = table.filter(({ pid }) => pid === root);
  const seen = new Set(tree.map(({ pid }) => pid));
  for (let at = 0; at < tree.length; at += 1) {
    for (const child of childrenOf.get(tree[at]?.pid ?? -1) ?? []) {
      // A table is read while it changes: a pid given anew could close a circle.
      if (seen.has(child.pid)) continue;
      seen.add(child.pid);
      tree.push(child);
    }
  }
  return tree;
}
