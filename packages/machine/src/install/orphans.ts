import { readdir, readFile } from "node:fs/promises";
import type { Clock } from "@holdfast/runtime";
import { signalProcess, waitForExit } from "@holdfast/runtime/host";
import { INSTALLER_MARK } from "./program-environment.ts";

const END_WAIT_MS = 5_000;

/**
 * Ends what a killed installer of this machine folder left running (git, uv, a script of a pack),
 * found by the mark in its environment. To be called only while the install lock is held: then
 * nobody else's programs carry the mark. Does nothing where the platform does not show the
 * environment of processes (all but Linux). Answers how many were ended.
 */
export async function endOrphans(root: string, clock: Clock): Promise<number> {
  if (process.platform !== "linux") return 0;
  const mark = `${INSTALLER_MARK}=${root}`;
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const found: number[] = [];
  for (const pid of pids) {
    if (pid === process.pid) continue;
    // Gone meanwhile, or somebody else's: not ours either way.
    const env = await readFile(`/proc/${pid}/environ`, "utf8").catch(() => "");
    if (env.split("\0").includes(mark)) found.push(pid);
  }
  for (const pid of found) signalProcess(pid, "SIGKILL");
  for (const pid of found) await waitForExit(pid, END_WAIT_MS, clock);
  return found.length;
}
