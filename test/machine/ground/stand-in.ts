/** The stand-in ComfyUI as a process of a test's own, without an installer around it. */
import { spawn } from "node:child_process";
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort, until } from "../../support/processes.ts";
import { STAND_IN_FOLDER } from "./local-internet.ts";

/** What can be made to go wrong while it runs: see `faults.py` of the stand-in. */
export interface StandInFaults {
  readonly start_delay?: number;
  readonly exit_at_start?: number;
  readonly ignore_sigint?: boolean;
  readonly zombie?: boolean;
  readonly hang_http?: boolean;
  readonly job_seconds?: number;
  readonly step_seconds?: number;
  readonly leak_mb?: number;
  readonly crash_on_job?: number;
  readonly exit_now?: number;
}

/** What the process was started with. */
export interface StandInEnvironment {
  readonly pid: number;
  readonly cwd: string;
  readonly argv: readonly string[];
  readonly executable: string;
  readonly python: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Counts of a running stand-in. */
export interface StandInStats {
  readonly pid: number;
  readonly prompts_run: number;
  readonly is_worker_alive: boolean;
  readonly leaked_bytes: number;
  readonly rss_bytes: number;
}

/** A running stand-in. */
export interface StandIn {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Its base directory, with ComfyUI's folders. */
  readonly base: string;
  readonly exited: Promise<number | string>;
  log(): string;
  /** Takes the place of the faults before; they hold within a second. */
  setFaults(faults: StandInFaults): void;
  environment(): Promise<StandInEnvironment>;
  stats(): Promise<StandInStats>;
  /** SIGKILL, or another signal, and waits for the end. */
  kill(signal?: NodeJS.Signals): Promise<number | string>;
}

/** How to start one. */
export interface StandInOptions {
  /** Python that has the stand-in's requirements. */
  readonly python: string;
  /** Its base directory; ComfyUI's folders are made in it. */
  readonly base: string;
  readonly port?: number;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Written to its file before the start. */
  readonly faults?: StandInFaults;
  /** False: does not wait until it answers. */
  readonly waits?: boolean;
}

/** Log kept of one, for the message of a failed test. */
const LOG_CHARS = 50_000;

/** Folders that ComfyUI wants in a base directory (F24). */
export function makeBaseFolders(base: string): void {
  for (const name of ["custom_nodes", "models/checkpoints", "input", "output", "temp", "user"]) {
    mkdirSync(join(base, name), { recursive: true });
  }
}

/** Writes the faults of the stand-in with this user folder; `port` for one of several that share it. */
export function writeFaults(userFolder: string, faults: StandInFaults, port?: number): void {
  const name = port === undefined ? "standin-faults.json" : `standin-faults-${port}.json`;
  const file = join(userFolder, name);
  writeFileSync(`${file}.new`, JSON.stringify(faults));
  renameSync(`${file}.new`, file);
}

/** `GET /standin/env` of any stand-in, however it was started. */
export function standInEnvironment(url: string): Promise<StandInEnvironment> {
  return getJson(`${url}/standin/env`);
}

/** `GET /standin/stats` of any stand-in. */
export function standInStats(url: string): Promise<StandInStats> {
  return getJson(`${url}/standin/stats`);
}

async function getJson<T>(url: string): Promise<T> {
  const answer = await fetch(url, { signal: AbortSignal.timeout(5_000) });
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}`);
  return (await answer.json()) as T;
}

/** Starts one on loopback and waits until it answers. */
export async function startStandIn(options: StandInOptions): Promise<StandIn> {
  const { base } = options;
  makeBaseFolders(base);
  const port = options.port ?? (await freePort());
  const url = `http://127.0.0.1:${port}`;
  if (options.faults !== undefined) writeFaults(join(base, "user"), options.faults);
  const fixed = ["main.py", "--cpu", "--port", String(port), "--base-directory", base];
  const child = spawn(options.python, [...fixed, ...(options.args ?? [])], {
    cwd: STAND_IN_FOLDER,
    // Nothing is to be written into the sources.
    env: { PATH: process.env["PATH"] ?? "", PYTHONDONTWRITEBYTECODE: "1", ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  const onData = (chunk: Buffer): void => {
    log = (log + chunk.toString("utf8")).slice(-LOG_CHARS);
  };
  child.stdout.on("data", onData);
  child.stderr.on("data", onData);
  let hasEnded = false;
  const exited = new Promise<number | string>((resolve) => {
    // Not before its streams are read: the log is asked for afterwards.
    child.once("close", (code, signal) => {
      hasEnded = true;
      resolve(code ?? signal ?? "unknown");
    });
    child.once("error", (error) => {
      hasEnded = true;
      resolve(String(error));
    });
  });
  if (options.waits !== false) {
    await until("the stand-in answers", async () => {
      if (hasEnded) return true;
      return (await fetch(`${url}/system_stats`, { signal: AbortSignal.timeout(2_000) })).ok;
    }).catch((error: unknown) => {
      child.kill("SIGKILL");
      throw new Error(`the stand-in does not answer:\n${log}`, { cause: error });
    });
    if (hasEnded) throw new Error(`the stand-in ended (${await exited}):\n${log}`);
  }
  return {
    url,
    port,
    pid: child.pid ?? -1,
    base,
    exited,
    log: () => log,
    setFaults: (faults) => writeFaults(join(base, "user"), faults),
    environment: () => standInEnvironment(url),
    stats: () => standInStats(url),
    kill(signal = "SIGKILL") {
      if (!hasEnded) child.kill(signal);
      return exited;
    },
  };
}
