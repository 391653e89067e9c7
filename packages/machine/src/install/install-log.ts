import { createWriteStream } from "node:fs";
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "@holdfast/runtime";
import type { InstallEvent } from "./model.ts";

/** Logs of runs that are kept. */
export const RUNS_KEPT = 20;
/** Lines of one step that go into the file. */
const STEP_LINES_MAX = 20_000;
/** A step's progress is written no more often than that. */
const PROGRESS_EVERY_MS = 1_000;
const LOG_NAME = /^install-[0-9TZ]+-\d+\.ndjson$/;

/** The log of one run: a file with one JSON event a line. */
export interface InstallLog {
  readonly file: string;
  write(event: InstallEvent): void;
  /** Resolves when everything is in the file. */
  close(): Promise<void>;
}

/** Opens the log of a run, and removes the oldest ones over {@link RUNS_KEPT}. */
export async function openInstallLog(folder: string, clock: Clock): Promise<InstallLog> {
  await mkdir(folder, { recursive: true });
  await removeOldLogs(folder, RUNS_KEPT - 1);
  const file = join(folder, logName(clock.now(), process.pid));
  const stream = createWriteStream(file, { flags: "a", mode: 0o600 });
  // A disk that is full must not end the installer: the steps tell about it themselves.
  stream.on("error", () => undefined);
  const admit = createLogFilter();
  return {
    file,
    write(event) {
      const admitted = admit(event);
      if (admitted !== undefined) stream.write(`${JSON.stringify(admitted)}\n`);
    },
    close: () =>
      new Promise((resolve) => {
        stream.once("close", () => resolve());
        stream.end();
        if (stream.destroyed) resolve();
      }),
  };
}

/** Name of the log of a run that began then; names sort by time. */
export function logName(at: number, pid: number): string {
  const stamp = new Date(at).toISOString().replaceAll(/[-:.]/g, "");
  return `install-${stamp}-${pid}.ndjson`;
}

/** Names of all logs of runs but the newest ones. */
export async function oldLogs(folder: string, keep: number): Promise<readonly string[]> {
  const names = await readdir(folder).catch(() => []);
  return names
    .filter((name) => LOG_NAME.test(name))
    .toSorted()
    .slice(0, -keep || undefined);
}

/** Removes them; answers their names. */
export async function removeOldLogs(folder: string, keep: number): Promise<readonly string[]> {
  const old = await oldLogs(folder, keep);
  for (const name of old) await rm(join(folder, name), { force: true });
  return old;
}

/**
 * Decides what of the events goes into the file: all, but of a step's lines only the first
 * {@link STEP_LINES_MAX} (then one that says so), and of its progress one a second.
 */
export function createLogFilter(): (event: InstallEvent) => InstallEvent | undefined {
  const lines = new Map<string, number>();
  const progressAt = new Map<string, number>();
  return (event) => {
    if (event.kind === "step.progress") {
      const last = progressAt.get(event.id);
      if (last !== undefined && event.at - last < PROGRESS_EVERY_MS) return undefined;
      progressAt.set(event.id, event.at);
      return event;
    }
    if (event.kind !== "step.log") return event;
    const count = (lines.get(event.id) ?? 0) + 1;
    lines.set(event.id, count);
    if (count <= STEP_LINES_MAX) return event;
    return count === STEP_LINES_MAX + 1
      ? { ...event, line: `further lines of this step are left out (${STEP_LINES_MAX} are kept)` }
      : undefined;
  };
}
