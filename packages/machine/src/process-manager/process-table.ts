/** The processes of this account that bear our marks, read from Linux's `/proc`. */
import { readdir, readFile, stat } from "node:fs/promises";
import { MARK_PID, marksFrom, parseEnviron, type ProcessMarks } from "./process-marks.ts";

/** Processes looked at; a host has a few hundred. */
const PROCESSES_MAX = 50_000;
/** Ticks of a second in what Linux tells to programs (`USER_HZ`): 100 on every architecture we run on. */
const TICKS_PER_SECOND = 100;

/** Fields of `/proc/<pid>/stat` that name a process and its kin. */
export interface ProcessStat {
  readonly pid: number;
  readonly state: string;
  readonly parentPid: number;
  readonly groupPid: number;
  /** Ticks since boot: with the pid it names one process. */
  readonly startTicks: number;
}

/** A living process that bears our marks. */
export interface MarkedProcess extends ProcessStat {
  readonly marks: ProcessMarks;
  /** True for the process that was started, false for what it started in turn. */
  readonly isMain: boolean;
}

/** Reads `/proc/<pid>/stat`; undefined for a text that is none. */
export function parseProcessStat(text: string): ProcessStat | undefined {
  // The program's name is in parentheses and may hold spaces and parentheses itself.
  const nameFrom = text.indexOf("(");
  const nameTo = text.lastIndexOf(")");
  if (nameFrom < 1 || nameTo < nameFrom) return undefined;
  const fields = text.slice(nameTo + 2).split(" ");
  const stat = {
    pid: Number(text.slice(0, nameFrom).trim()),
    state: fields[0] ?? "",
    parentPid: Number(fields[1] ?? Number.NaN),
    groupPid: Number(fields[2] ?? Number.NaN),
    startTicks: Number(fields[19] ?? Number.NaN),
  };
  const numbers = [stat.pid, stat.parentPid, stat.groupPid, stat.startTicks];
  return numbers.every(Number.isSafeInteger) && stat.state !== "" ? stat : undefined;
}

/** Whether it has ended and only waits to be reaped. */
function isDead(stat: ProcessStat): boolean {
  return stat.state === "Z" || stat.state === "X";
}

/** Every living process that may be seen; empty where there is no `/proc`. */
export async function readProcessStats(): Promise<readonly ProcessStat[]> {
  if (process.platform !== "linux") return [];
  const names = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const stats = await Promise.all(
    names.slice(0, PROCESSES_MAX).map(async (name) => {
      const text = await readFile(`/proc/${name}/stat`, "utf8").catch(() => "");
      return parseProcessStat(text);
    }),
  );
  return stats.filter((stat) => stat !== undefined).filter((stat) => !isDead(stat));
}

/**
 * The living processes of this account that bear the marks of this machine, or of every machine.
 * Never this program itself or one above it, even if somebody started it from within an instance.
 */
export async function readMarkedProcesses(machine: string | null): Promise<MarkedProcess[]> {
  const stats = await readProcessStats();
  const own = ancestors(stats, process.pid);
  const found = await Promise.all(
    stats.filter((stat) => !own.has(stat.pid)).map((stat) => readMarked(stat)),
  );
  return found
    .filter((one) => one !== undefined)
    .filter((one) => machine === null || one.marks.HOLDFAST_MACHINE === machine);
}

async function readMarked(stat: ProcessStat): Promise<MarkedProcess | undefined> {
  const folder = `/proc/${stat.pid}`;
  if (!(await isOwn(folder))) return undefined;
  const environ = parseEnviron(await readFile(`${folder}/environ`, "utf8").catch(() => ""));
  const marks = marksFrom((name) => environ.get(name));
  if (marks === null) return undefined;
  return { ...stat, marks, isMain: environ.get(MARK_PID) === String(stat.pid) };
}

/** Root may read every environment: what another account marked is still not ours to end. */
async function isOwn(folder: string): Promise<boolean> {
  const owner = await stat(folder).then(
    (info) => info.uid,
    () => undefined,
  );
  return owner !== undefined && owner === process.getuid?.();
}

/** A process and all above it. */
export function ancestors(stats: readonly ProcessStat[], pid: number): ReadonlySet<number> {
  const parents = new Map(stats.map((stat) => [stat.pid, stat.parentPid]));
  const found = new Set<number>();
  for (let at: number | undefined = pid; at !== undefined && !found.has(at); at = parents.get(at)) {
    found.add(at);
  }
  return found;
}

/** Pids of everything below a process, the process itself not among them. */
export function descendants(stats: readonly ProcessStat[], pid: number): ReadonlySet<number> {
  const children = new Map<number, number[]>();
  for (const stat of stats) {
    children.set(stat.parentPid, [...(children.get(stat.parentPid) ?? []), stat.pid]);
  }
  const found = new Set<number>();
  const open = [pid];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    for (const child of children.get(at) ?? []) {
      if (found.has(child) || child === pid) continue;
      found.add(child);
      open.push(child);
    }
  }
  return found;
}

/** When a process started, epoch ms; null when the system does not say when it booted. */
export async function startedAtMs(startTicks: number): Promise<number | null> {
  const text = await readFile("/proc/stat", "utf8").catch(() => "");
  const boot = /^btime (\d+)$/m.exec(text)?.[1];
  if (boot === undefined) return null;
  return Number(boot) * 1_000 + Math.round((startTicks * 1_000) / TICKS_PER_SECOND);
}
