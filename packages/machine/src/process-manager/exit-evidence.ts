/** Reads what tells why a process ended: PM2's log, and the kernel's counters of killing for memory. */
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { exitCause, lastExitIn, type ExitCause } from "./exit-cause.ts";

/** Read of PM2's log: a line has about 100 bytes. */
const TAIL_BYTES = 64 * 1024;

/** How often the kernel has killed for memory. */
interface OomKills {
  /** In the memory cgroup that was asked for; null where it does not count. */
  readonly cgroup: number | null;
  /** On the whole host. */
  readonly host: number | null;
}

/**
 * Reads the counters for the memory cgroup of a process (this program's, when it is gone). To be
 * taken when a process was started; the cause of its end is told by the difference.
 */
async function readOomKills(pid: number): Promise<OomKills> {
  const membership =
    (await readText(`/proc/${pid}/cgroup`)) || (await readText("/proc/self/cgroup"));
  let cgroup: number | null = null;
  for (const file of oomCounterFiles(membership)) cgroup ??= countIn(await readText(file));
  return { cgroup, host: countIn(await readText("/proc/vmstat")) };
}

/** Files with the counter of a cgroup, best first, from `/proc/<pid>/cgroup`. */
export function oomCounterFiles(membership: string): readonly string[] {
  const files: string[] = [];
  for (const line of membership.split("\n")) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) continue;
    // Within a container the path is often the host's, and the group itself at the mount's root.
    if (controllers.split(",").includes("memory")) {
      files.push(`/sys/fs/cgroup/memory${path === "/" ? "" : path}/memory.oom_control`);
      files.push("/sys/fs/cgroup/memory/memory.oom_control");
    } else if (controllers === "") {
      files.push(`/sys/fs/cgroup${path === "/" ? "" : path}/memory.events`);
      files.push("/sys/fs/cgroup/memory.events");
    }
  }
  return files;
}

function countIn(text: string): number | null {
  const found = /^oom_kill (\d+)$/m.exec(text)?.[1];
  return found === undefined ? null : Number(found);
}

async function readText(path: string): Promise<string> {
  return await readFile(path, "utf8").catch(() => "");
}

/** Tells why processes ended; asked by the supervisor. */
export interface ExitExplainer {
  /** Takes note of a process that runs: what the kernel kills for memory from now on may be it. */
  note(name: string, pid: number): Promise<void>;
  /** Why the last process of that name ended. To be asked before it is started anew. Never throws. */
  explain(end: Pick<ProcessEnd, "exitCode" | "name" | "pid">): Promise<ExitCause>;
}

/** The {@link ExitExplainer} for processes under a PM2. */
export function createExitExplainer(pm2Home: string): ExitExplainer {
  const before = new Map<string, OomKills>();
  return {
    async note(name, pid) {
      before.set(name, await readOomKills(pid));
    },
    explain: (end) =>
      explainEnd(pm2Home, {
        ...end,
        wasAsked: false,
        oomKillsBefore: before.get(end.name) ?? null,
      }),
  };
}

/** An end to be explained. */
interface ProcessEnd {
  readonly name: string;
  readonly pid: number;
  readonly exitCode: number | null;
  readonly wasAsked: boolean;
  /** Taken when it was started; null when nobody did. */
  readonly oomKillsBefore: OomKills | null;
}

/** Why a process ended. Never throws: what cannot be read tells nothing. */
async function explainEnd(pm2Home: string, end: ProcessEnd): Promise<ExitCause> {
  const logged = lastExitIn(await readTail(join(pm2Home, "pm2.log")), end.name);
  const now = await readOomKills(end.pid);
  const before = end.oomKillsBefore;
  return exitCause({
    wasAsked: end.wasAsked,
    exitCode: end.exitCode,
    logged,
    oomKills: { cgroup: grown(before?.cgroup, now.cgroup), host: grown(before?.host, now.host) },
  });
}

function grown(before: number | null | undefined, now: number | null): number | null {
  return now === null || before === null || before === undefined ? null : now - before;
}

async function readTail(path: string): Promise<string> {
  const file = await open(path, "r").catch(() => undefined);
  if (file === undefined) return "";
  try {
    const { size } = await file.stat();
    const from = Math.max(0, size - TAIL_BYTES);
    const buffer = Buffer.alloc(size - from);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
    return buffer.subarray(0, bytesRead).toString("utf8");
  } finally {
    await file.close();
  }
}
