import { mkdir } from "node:fs/promises";
import type { Clock } from "@holdfast/runtime";
import {
  isSameProcess,
  processStartTime,
  signalProcess,
  waitForExit,
} from "@holdfast/runtime/host";
import { findCommand, type FoundCommand } from "./find-command.ts";

/** What a process service needs of the operating system. */
export interface ProcessHost {
  findCommand(command: string, cwd: string): Promise<FoundCommand>;
  makeFolder(path: string): Promise<void>;
  /** Text that names the process together with its pid; undefined when it is gone. */
  startTime(pid: number): Promise<string | undefined>;
  /** Whether it lives, and is the one that had this start time. Cheap. */
  isSame(pid: number, startTime: string | undefined): Promise<boolean>;
  /** SIGINT, and SIGKILL after the limit; resolves when it has ended. */
  end(pid: number, limitMs: number): Promise<void>;
}

const KILL_WAIT_MS = 5_000;

/** The real operating system; programs are looked for in `searchPath`. */
export function createProcessHost(clock: Clock, searchPath: string): ProcessHost {
  return {
    findCommand: (command, cwd) => findCommand(command, cwd, searchPath),
    async makeFolder(path) {
      await mkdir(path, { recursive: true, mode: 0o700 });
    },
    startTime: processStartTime,
    isSame: isSameProcess,
    async end(pid, limitMs) {
      signalProcess(pid, "SIGINT");
      if (await waitForExit(pid, limitMs, clock)) return;
      signalProcess(pid, "SIGKILL");
      if (!(await waitForExit(pid, KILL_WAIT_MS, clock))) {
        throw new Error(`process ${pid} does not end, not even by SIGKILL`);
      }
    },
  };
}
