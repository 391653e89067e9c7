/** What `pm2 jlist` prints, read without trust. */
import { z } from "zod";
import type { ManagedProcess } from "./model.ts";
import { MARK, marksFrom, type ProcessMarks } from "./process-marks.ts";

/** Most processes of a list that are read. */
const ENTRIES_MAX = 2_000;

const environment = z.record(z.string(), z.unknown());
const entrySchema = z.object({
  name: z.string(),
  pm_id: z.int().min(0),
  pid: z.int().nullish(),
  pm2_env: z
    .object({
      status: z.string().nullish(),
      pm_uptime: z.number().nullish(),
      exit_code: z.union([z.number(), z.string()]).nullish(),
      env: environment.nullish(),
    })
    .loose(),
});

/** One process as PM2 lists it. */
export interface Pm2Entry {
  readonly pmId: number;
  readonly process: ManagedProcess;
  /** Null for one that was not started by Holdfast. */
  readonly marks: ProcessMarks | null;
}

/**
 * Reads the list. Anything may stand before it (banners, warnings of Node, lines of a daemon that was
 * just started), so the last line that is a JSON list is taken. Throws in words when there is none.
 */
export function parsePm2List(output: string): readonly Pm2Entry[] {
  const lines = output.split("\n").filter((line) => line.trimStart().startsWith("["));
  for (const line of lines.reverse()) {
    const parsed = z.array(entrySchema).max(ENTRIES_MAX).safeParse(jsonOrUndefined(line));
    if (parsed.success) return parsed.data.map(toEntry);
  }
  throw new Error(
    `expected a list of processes from pm2 jlist, found: ${output.trim().slice(-200) || "nothing"}`,
  );
}

function jsonOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // A banner that begins with a bracket, such as "[PM2] Spawning".
  }
}

function toEntry(entry: z.output<typeof entrySchema>): Pm2Entry {
  const env = entry.pm2_env;
  const marks = marksFrom((name) => textOf(env.env?.[name]) ?? textOf(env[name]));
  const pid = entry.pid !== null && entry.pid !== undefined && entry.pid > 0 ? entry.pid : null;
  const exitCode = Number(env.exit_code ?? Number.NaN);
  return {
    pmId: entry.pm_id,
    marks,
    process: {
      name: entry.name,
      state: toState(env.status ?? "", pid),
      pid,
      digest: marks?.[MARK.digest] ?? null,
      startedAt: env.pm_uptime ?? null,
      exitCode: pid === null && Number.isSafeInteger(exitCode) ? exitCode : null,
    },
  };
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function toState(status: string, pid: number | null): ManagedProcess["state"] {
  switch (status) {
    // A daemon that has not yet heard of the death says online for a moment; without pid nothing runs.
    case "online":
      return pid === null ? "stopped" : "online";
    case "launching":
    case "one-launch-status":
      return pid === null ? "stopped" : "launching";
    case "stopping":
      return "stopping";
    case "stopped":
      return "stopped";
    // "waiting restart" stays for ever when the restarts are used up (7.0.4), and nothing waits here.
    default:
      return pid === null ? "errored" : "online";
  }
}
