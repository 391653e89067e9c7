/** CPU time and memory of other processes, from /proc; null where there is none (not Linux). */
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

const TICKS_PER_SECOND = Number(spawnSync("getconf", ["CLK_TCK"]).stdout?.toString() ?? "") || 100;

/** Fields of /proc/PID/stat after the name, which may hold spaces: state is the first. */
function statFields(pid) {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

/** User and system time of a process in ms, without its children; null when it is gone. */
export function processCpuMs(pid) {
  try {
    const fields = statFields(pid);
    return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
  } catch {
    return null;
  }
}

/** The same for a process with all its children, ended ones included. */
export function treeCpuMs(pid) {
  try {
    const fields = statFields(pid);
    const own = [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]), 0);
    const living = childrenOf(pid).reduce((sum, child) => sum + (processCpuMs(child) ?? 0), 0);
    return (own * 1000) / TICKS_PER_SECOND + living;
  } catch {
    return null;
  }
}

function childrenOf(pid) {
  return readdirSync("/proc")
    .map(Number)
    .filter((entry) => Number.isInteger(entry) && parentOf(entry) === pid);
}

function parentOf(pid) {
  try {
    return Number(statFields(pid)[1]);
  } catch {
    return undefined;
  }
}

/** Resident memory of a process in MB; null when it is gone. */
export function residentMb(pid) {
  try {
    const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
    return line === null ? null : Number(line[1]) / 1024;
  } catch {
    return null;
  }
}
