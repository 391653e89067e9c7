/** Which processes a test left behind, found by something only they have: the test's own folder. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** A process that is still there. */
export interface LeftProcess {
  readonly pid: number;
  readonly command: string;
}

/**
 * Processes with this text in their command line, environment or working folder, other than this one.
 * Give a text that is unique to the test, such as its temporary folder.
 */
export function processesWith(text: string): readonly LeftProcess[] {
  const found: LeftProcess[] = [];
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    const read = (name: string): string => {
      try {
        return readFileSync(`/proc/${entry}/${name}`, "latin1");
      } catch {
        return ""; // It ended meanwhile, or is somebody else's.
      }
    };
    const command = read("cmdline").replaceAll("\0", " ").trim();
    // A process that ended and was not collected has no command line any more.
    if (command === "") continue;
    if (`${command}\0${read("environ")}\0${folderOf(entry)}`.includes(text)) {
      found.push({ pid: Number(entry), command });
    }
  }
  return found;
}

function folderOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return "";
  }
}

/** Ends them with signal 9, and says which there were. */
export function endProcessesWith(text: string): readonly LeftProcess[] {
  const found = processesWith(text);
  for (const { pid } of found) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself.
    }
  }
  return found;
}
