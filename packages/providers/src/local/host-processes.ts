/**
 * The processes of a machine on this host: the one that was started, and all that it started in turn.
 * On Linux they are found by a mark in their environment, which children inherit, and by who started
 * whom; elsewhere only the process on record and its group are known.
 */
import { readdir, readFile, realpath, stat } from "node:fs/promises";
import type { Clock } from "@holdfast/runtime";
import { isProcessAlive, processStartTime } from "@holdfast/runtime/host";
import { LOCAL_ENV } from "./machine-env.ts";

/** Processes looked at; a host has a few hundred. */
const PROCESSES_MAX = 50_000;

/** One process: with its start it is not mistaken for a later one with the same number. */
export interface HostProcess {
  /** Negative for a group as a whole, where its processes cannot be told apart. */
  readonly pid: number;
  /** Ticks since boot; null where that is not told. */
  readonly startTicks: number | null;
}

/** By what processes are known as those of a machine. */
export interface Belonging {
  readonly mark: string;
  readonly folder: string;
}

/** What of the host's processes a machine's life depends on. */
export interface HostProcesses {
  /** The process that was started with this mark, not what it started; undefined when none lives. */
  findMain(mark: string): Promise<{ pid: number; startTime: string | null } | undefined>;
  /** All that live and belong to it; while the main process lives, its group and what is below it too. */
  kinOf(machine: Belonging, mainPid: number | null): Promise<readonly HostProcess[]>;
  /** Sends a signal if it is still that process. */
  signal(target: HostProcess, signal: NodeJS.Signals): Promise<void>;
  isAlive(target: HostProcess): Promise<boolean>;
}

/** A process that is becoming another program has no environment for an instant: it is looked at twice. */
const AGAIN_MS = 50;

/** What is left of a machine whose own process has ended; nothing only if two looks found nothing. */
export async function leftOf(
  machine: Belonging,
  host: HostProcesses,
  clock: Clock,
  signal: AbortSignal,
): Promise<readonly HostProcess[]> {
  const left = await host.kinOf(machine, null);
  if (left.length > 0) return left;
  await clock.sleep(AGAIN_MS, signal);
  return await host.kinOf(machine, null);
}

/** The host as it is. */
export function createHostProcesses(): HostProcesses {
  return process.platform === "linux" ? LINUX : GROUPS;
}

/**
 * Names that an agent gives what it lets go of with an environment of its own, which our mark is not in:
 * PM2's daemon, and the instances below that. Their values are folders within the machine's.
 */
const FOLDER_MARKS = ["HOLDFAST_MACHINE", "PM2_HOME"] as const;

interface TableEntry {
  readonly pid: number;
  readonly parentPid: number;
  readonly groupPid: number;
  readonly startTicks: number;
}

const LINUX: HostProcesses = {
  async findMain(mark) {
    const marked = await entriesWith(await readTable(), (env) => hasMark(env, mark));
    // It was started as the leader of a group of its own, before all that it started.
    const [main] = marked
      .filter((one) => one.pid === one.groupPid)
      .sort((a, b) => a.startTicks - b.startTicks || a.pid - b.pid);
    if (main === undefined) return undefined;
    return { pid: main.pid, startTime: (await processStartTime(main.pid)) ?? null };
  },
  async kinOf({ mark, folder }, mainPid) {
    const table = await readTable();
    const real = await realpath(folder).catch(() => folder);
    const marked = await entriesWith(
      table,
      (env) => hasMark(env, mark) || isWithin(env, folder) || isWithin(env, real),
    );
    const pids = new Set(marked.map((one) => one.pid));
    if (mainPid !== null && table.some((one) => one.pid === mainPid)) {
      for (const pid of below(table, mainPid)) pids.add(pid);
      for (const one of table) if (one.groupPid === mainPid) pids.add(one.pid);
    }
    const spared = above(table, process.pid);
    return table.filter((one) => pids.has(one.pid) && !spared.has(one.pid));
  },
  async signal(target, signal) {
    if (await LINUX.isAlive(target)) trySignal(target.pid, signal);
  },
  async isAlive({ pid, startTicks }) {
    return (await readEntry(String(pid)))?.startTicks === startTicks;
  },
};

const GROUPS: HostProcesses = {
  findMain: async () => undefined,
  // A group keeps its number until the last of it has ended: no other process gets it meanwhile.
  kinOf: async (_, mainPid) =>
    mainPid !== null && trySignal(-mainPid, 0) ? [{ pid: -mainPid, startTicks: null }] : [],
  signal: async ({ pid }, signal) => void trySignal(pid, signal),
  isAlive: async ({ pid }) => (pid < 0 ? trySignal(pid, 0) : await isProcessAlive(pid)),
};

/** False when nobody is there, or it is somebody else's. */
function trySignal(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}

async function readTable(): Promise<readonly TableEntry[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const entries = await Promise.all(pids.slice(0, PROCESSES_MAX).map((pid) => readEntry(pid)));
  return entries.filter((one) => one !== undefined);
}

/** Undefined for one that is gone, or has ended and only waits to be reaped. */
async function readEntry(pid: string): Promise<TableEntry | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return parseTableEntry(text);
}

/** Reads `/proc/<pid>/stat`: the name in parentheses may hold spaces and parentheses itself. */
export function parseTableEntry(text: string): TableEntry | undefined {
  const nameFrom = text.indexOf("(");
  const nameTo = text.lastIndexOf(")");
  if (nameFrom < 1 || nameTo < nameFrom) return undefined;
  const [state = "", parent, group, ...rest] = text.slice(nameTo + 2).split(" ");
  if (state === "Z" || state === "X") return undefined;
  const entry = {
    pid: Number(text.slice(0, nameFrom).trim()),
    parentPid: Number(parent ?? Number.NaN),
    groupPid: Number(group ?? Number.NaN),
    // The 22nd field; three were taken off, and two stand before the state.
    startTicks: Number(rest[16] ?? Number.NaN),
  };
  return Object.values(entry).every(Number.isSafeInteger) ? entry : undefined;
}

function hasMark(env: readonly string[], mark: string): boolean {
  return env.includes(`${LOCAL_ENV.mark}=${mark}`);
}

function isWithin(env: readonly string[], folder: string): boolean {
  return FOLDER_MARKS.some((name) => {
    const own = `${name}=${folder}`;
    return env.some((entry) => entry === own || entry.startsWith(`${own}/`));
  });
}

/** Those of this account: root may read every environment, and what others marked is not ours to end. */
async function entriesWith(
  table: readonly TableEntry[],
  holds: (env: readonly string[]) => boolean,
): Promise<readonly TableEntry[]> {
  const found = await Promise.all(
    table.map(async (entry) => {
      const place = `/proc/${entry.pid}`;
      const text = await readFile(`${place}/environ`, "utf8").catch(() => "");
      if (!holds(text.split("\0"))) return undefined;
      const owner = await stat(place).then(
        (info) => info.uid,
        () => undefined,
      );
      return owner === process.getuid?.() ? entry : undefined;
    }),
  );
  return found.filter((one) => one !== undefined);
}

function below(table: readonly TableEntry[], pid: number): ReadonlySet<number> {
  const found = new Set<number>();
  const open = [pid];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    for (const child of table) {
      if (child.parentPid !== at || found.has(child.pid)) continue;
      found.add(child.pid);
      open.push(child.pid);
    }
  }
  return found;
}

/** A process and all above it: never ended by itself, wherever it was started from. */
function above(table: readonly TableEntry[], pid: number): ReadonlySet<number> {
  const parents = new Map(table.map((one) => [one.pid, one.parentPid]));
  const found = new Set<number>();
  for (let at: number | undefined = pid; at !== undefined && !found.has(at); at = parents.get(at)) {
    found.add(at);
  }
  return found;
}
