import { readdir, readFile } from "node:fs/promises";
import type { Clock } from "@holdfast/runtime";
import { parseLinuxStat, signalProcess, waitForExit } from "@holdfast/runtime/host";
import {
  INSTALLER_MARK,
  INSTALLER_OWNER,
  INSTALLER_RUN,
  type RunKind,
} from "./program-environment.ts";
import type { RunProgram } from "./run-program.ts";

const END_WAIT_MS = 5_000;

/** Marks all programs with what they are run for. */
export function markRuns(run: RunProgram, kind: RunKind): RunProgram {
  return (call) => run({ ...call, env: { ...call.env, [INSTALLER_RUN]: kind } });
}

/**
 * Ends what installers of this machine folder left running (git, uv, a script of a pack, what that
 * detached), found by the marks in its environment. To be called while the install lock is held and
 * before any program was started: then every installation is over, also one of a process that lives. A
 * plan needs no lock: its programs are left while their owner lives. Does nothing where the platform
 * does not show the environment of processes (all but Linux). Answers how many were ended.
 */
export async function endOrphans(root: string, clock: Clock): Promise<number> {
  if (process.platform !== "linux") return 0;
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const found: number[] = [];
  for (const pid of pids) {
    if (pid !== process.pid && (await isLeft(pid, root))) found.push(pid);
  }
  for (const pid of found) signalProcess(pid, "SIGKILL");
  for (const pid of found) await waitForExit(pid, END_WAIT_MS, clock);
  return found.length;
}

async function isLeft(pid: number, root: string): Promise<boolean> {
  // Gone meanwhile, or somebody else's: not ours either way.
  const env = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
  const entries = env.split("\0");
  if (!entries.includes(`${INSTALLER_MARK}=${root}`)) return false;
  if (entries.includes(`${INSTALLER_RUN}=${"install" satisfies RunKind}`)) return true;
  const owner = entries.find((entry) => entry.startsWith(`${INSTALLER_OWNER}=`));
  const ownerPid = Number(owner?.slice(INSTALLER_OWNER.length + 1) ?? Number.NaN);
  return isLeftover(await startedAt(pid), await startedAt(ownerPid));
}

/**
 * Whether nobody waits for a program any more, by the ticks at which it and the process with its
 * owner's pid were started; undefined for one that is gone. What started after the program has only
 * inherited the pid: it is not the owner.
 */
export function isLeftover(program: number | undefined, owner: number | undefined): boolean {
  if (program === undefined) return false;
  return owner === undefined || owner > program;
}

async function startedAt(pid: number): Promise<number | undefined> {
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  const stat = text === undefined ? undefined : parseLinuxStat(text);
  // A zombie waits for nobody.
  if (stat === undefined || stat.state === "Z" || stat.state === "X") return undefined;
  return Number(stat.startTicks);
}
