/** Ends a process of ours together with all that it started. */
import type { Clock } from "@holdfast/runtime";
import { isProcessAlive } from "@holdfast/runtime/host";
import { MARK } from "./process-marks.ts";
import {
  ancestors,
  descendants,
  readMarkedProcesses,
  readProcessStats,
  type ProcessStat,
} from "./process-table.ts";

const POLL_MS = 25;
/** A process that SIGKILL does not end in this time waits in the kernel, mostly for a device. */
const KILL_WAIT_MS = 10_000;

/** What to end. */
export interface EndTarget {
  readonly machine: string;
  readonly name: string;
  /** The process that was started, where it is known. */
  readonly pid: number | null;
  /** From SIGINT to SIGKILL. */
  readonly stopTimeoutMs: number;
}

/** How it ended. `killed`: it did not go by itself in its time. */
export type EndOutcome = { readonly kind: "ended" | "killed" | "nothing_there" };

/**
 * SIGINT to the process and to all that belongs to it (its group, what is below it, what inherited
 * its marks), and SIGKILL to what lives on after the stop time. Returns when all of it is gone; throws
 * in words when something cannot be ended. An abort leaves it as it is, to be ended by the next call.
 */
export async function endProcessTree(
  target: EndTarget,
  deps: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<EndOutcome> {
  const first = await membersOf(target);
  if (first.length === 0) return { kind: "nothing_there" };
  for (const member of first) send(member, "SIGINT");
  if (await goneWithin(target, target.stopTimeoutMs, deps)) return { kind: "ended" };
  const deadline = deps.clock.elapsed() + KILL_WAIT_MS;
  for (;;) {
    // Looked for anew each time: one that forks while it is being killed leaves children.
    const left = await membersOf(target);
    if (left.length === 0) return { kind: "killed" };
    if (deps.clock.elapsed() >= deadline) throw new Error(cannotEnd(target, left));
    for (const member of left) send(member, "SIGKILL");
    await deps.clock.sleep(POLL_MS, deps.signal);
  }
}

async function goneWithin(
  target: EndTarget,
  timeoutMs: number,
  deps: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<boolean> {
  const deadline = deps.clock.elapsed() + timeoutMs;
  for (;;) {
    const left = await membersOf(target);
    if (left.length === 0) return true;
    // The pids are cheap to ask; the whole table is read again only once all of them are gone.
    while (await anyAlive(left)) {
      if (deps.clock.elapsed() >= deadline) return false;
      await deps.clock.sleep(POLL_MS, deps.signal);
    }
    if (deps.clock.elapsed() >= deadline) return (await membersOf(target)).length === 0;
  }
}

async function anyAlive(members: readonly Member[]): Promise<boolean> {
  for (const member of members) if (await isProcessAlive(member.pid)) return true;
  return false;
}

/** Only the pid where there is no `/proc`. */
type Member = Pick<ProcessStat, "pid"> & Partial<ProcessStat>;

/** All that lives of it. */
async function membersOf(target: EndTarget): Promise<readonly Member[]> {
  if (process.platform !== "linux") return await membersElsewhere(target);
  const stats = await readProcessStats();
  const marked = (await readMarkedProcesses(target.machine)).filter(
    (one) => one.marks[MARK.name] === target.name,
  );
  const roots = new Set(marked.map((one) => one.pid));
  if (target.pid !== null) roots.add(target.pid);
  const below = new Set<number>();
  for (const root of roots) for (const pid of descendants(stats, root)) below.add(pid);
  const own = ancestors(stats, process.pid);
  return stats.filter(
    (stat) =>
      !own.has(stat.pid) &&
      (roots.has(stat.pid) ||
        below.has(stat.pid) ||
        (target.pid !== null && stat.groupPid === target.pid)),
  );
}

async function membersElsewhere(target: EndTarget): Promise<readonly Member[]> {
  if (target.pid === null || !(await isProcessAlive(target.pid))) return [];
  return [{ pid: target.pid }];
}

function send(member: Member, signal: NodeJS.Signals): void {
  // PM2 starts each process as the head of a group; where there is no table, the group is its kin.
  const pids = process.platform === "linux" ? [member.pid] : [member.pid, -member.pid];
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // Gone by now, or of another account: what is left in the end is told by its pid.
    }
  }
}

function cannotEnd(target: EndTarget, left: readonly Member[]): string {
  const pids = left.map((one) => `${one.pid}${one.state === "D" ? " (in the kernel)" : ""}`);
  return (
    `${target.name}: process ${pids.join(", ")} does not end ${KILL_WAIT_MS / 1_000} s after SIGKILL; ` +
    `it waits in the kernel, mostly for a GPU or a disk: look at dmesg, and restart the host if it stays`
  );
}
