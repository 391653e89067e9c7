import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  adoptOrEnd,
  endChild,
  spawnDetachedChild,
  type Log,
  type Ownership,
  type RecordedChild,
} from "@holdfast/control-plane/process";
import type { Clock, Service } from "@holdfast/runtime";
import { tryPort } from "@holdfast/runtime/host";
import { fieldOf } from "../api/api-client.ts";
import { trySignal } from "./stop-signals.ts";

/**
 * The simulator of `up`, as a process of its own: it outlives a kill of `up`, as a real ComfyUI would,
 * and the next `up` adopts it by the owner file. It keeps its port over restarts, because an instance
 * is known by its address. While `up` runs, a simulator that ended is started again.
 */
export interface SimulatorChild extends Service {
  /** Where it listens; valid once started. */
  url(): string;
  /** Whether the start found one running. */
  wasAdopted(): boolean;
  /** Kills it without waiting: for the second Ctrl-C. */
  killNow(): void;
}

/** How to run it. */
export interface SimulatorChildOptions {
  readonly home: string;
  readonly ownership: Ownership;
  readonly orphans: readonly RecordedChild[];
  readonly clock: Clock;
  readonly log: Log;
  /** Factor on simulated durations. */
  readonly timeScale: number;
  readonly env: Readonly<Record<string, string | undefined>>;
}

const NAME = "simulator";
const HOST = "127.0.0.1";
const PROGRAM = fileURLToPath(new URL("../../bin/holdfast.js", import.meta.url));
const START_LIMIT_MS = 20_000;
const ANSWER_POLL_MS = 50;
const ANSWER_LIMIT_MS = 1_000;
const WATCH_EVERY_MS = 1_000;
const TRIES = 3;
const GRACE_MS = 3_000;
/** What a simulator may see of our environment: nothing secret, no failpoint. */
const PASSED_ON = ["PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SystemRoot", "NODE_OPTIONS", "LANG"];

/** Makes the supervisor of the simulator; nothing happens before `start`. */
export function createSimulatorChild(options: SimulatorChildOptions): SimulatorChild {
  const { ownership, clock, log } = options;
  const stopping = new AbortController();
  let child: RecordedChild | undefined;
  let isAdopted = false;
  let watching: Promise<void> = Promise.resolve();

  const watch = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await clock.sleep(WATCH_EVERY_MS, stopping.signal).catch(() => undefined);
      if (stopping.signal.aborted || child === undefined || (await isAlive(child, clock))) continue;
      log.warn({ pid: child.pid }, "simulator ended, starting it again");
      try {
        child = await launch(options, stopping.signal);
      } catch (err) {
        // The next tick tries again; meanwhile the instance shows as gone.
        if (!stopping.signal.aborted) log.error({ err }, "simulator could not be started");
      }
    }
  };

  return {
    name: NAME,
    url: () => `http://${HOST}:${child?.port ?? 0}`,
    wasAdopted: () => isAdopted,
    killNow() {
      if (child !== undefined) trySignal(child.pid, "SIGKILL");
    },
    async start() {
      for (const orphan of options.orphans.filter(({ name }) => name === NAME)) {
        const isWanted = (found: RecordedChild): Promise<boolean> => isOurs(found, options);
        const outcome = await adoptOrEnd(orphan, { clock, isWanted, graceMs: GRACE_MS });
        if (outcome === "adopted") {
          child = orphan;
          isAdopted = true;
        } else {
          await ownership.forgetChild(NAME);
        }
      }
      child ??= await launch(options, stopping.signal);
      log.info({ pid: child.pid, port: child.port, adopted: isAdopted }, "simulator ready");
      watching = watch();
    },
    async stop() {
      stopping.abort(new Error("stopping"));
      await watching;
      if (child === undefined) return;
      await endChild(child, { clock, graceMs: GRACE_MS });
      await ownership.forgetChild(NAME);
      child = undefined;
    },
  };
}

function isAlive(child: RecordedChild, clock: Clock): Promise<boolean> {
  return adoptOrEnd(child, { clock, isWanted: always }).then((outcome) => outcome === "adopted");
}

async function always(): Promise<boolean> {
  return true;
}

/** An orphan is kept when it was started as we would start it, and answers. */
async function isOurs(child: RecordedChild, options: SimulatorChildOptions): Promise<boolean> {
  if (child.port === undefined || child.details?.["timeScale"] !== options.timeScale) return false;
  const deadline = options.clock.elapsed() + GRACE_MS;
  // A crash that it simulates just now takes it away for a moment.
  while (options.clock.elapsed() < deadline) {
    if (await answersAsSimulator(child.port)) return true;
    await options.clock.sleep(ANSWER_POLL_MS);
  }
  return false;
}

async function answersAsSimulator(port: number): Promise<boolean> {
  try {
    const response = await fetch(`http://${HOST}:${port}/simulator/stats`, {
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    });
    return response.ok && fieldOf(await response.json(), "simulated") === true;
  } catch {
    return false;
  }
}

async function launch(options: SimulatorChildOptions, signal: AbortSignal): Promise<RecordedChild> {
  const { home, ownership, clock } = options;
  const folder = join(home, "simulator");
  await mkdir(join(home, "logs"), { recursive: true });
  await mkdir(folder, { recursive: true });
  const logFile = join(home, "logs", "simulator.log");
  for (let attempt = 1; attempt <= TRIES; attempt += 1) {
    const port = await choosePort(folder);
    const started = await spawnDetachedChild({
      name: NAME,
      command: process.execPath,
      args: simulatorArgs(port, folder, options.timeScale),
      env: passedOn(options.env),
      logFile,
      port,
    });
    const record = { ...started.record, details: { timeScale: options.timeScale } };
    // On record before anything depends on it: a kill of ours right now must not lose it.
    await ownership.recordChild(record);
    const ended = new AbortController();
    void started.ended.then((how) => ended.abort(how));
    const deadline = clock.elapsed() + START_LIMIT_MS;
    while (!ended.signal.aborted && clock.elapsed() < deadline) {
      if (await answersAsSimulator(port)) {
        await writeFile(join(folder, "port"), String(port));
        return record;
      }
      await clock.sleep(ANSWER_POLL_MS, signal);
    }
    await endChild(record, { clock, graceMs: GRACE_MS });
    await ownership.forgetChild(NAME);
  }
  throw new Error(`the simulator does not start; see ${logFile}`);
}

function simulatorArgs(port: number, folder: string, timeScale: number): readonly string[] {
  const files = join(folder, "files");
  const where = `--host ${HOST} --port ${port} --time-scale ${timeScale} --data-dir`.split(" ");
  return [PROGRAM, "simulator", ...where, files];
}

function passedOn(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const name of PASSED_ON) {
    const value = env[name];
    if (value !== undefined) kept[name] = value;
  }
  return kept;
}

/** The port of last time if it is free, else any. */
async function choosePort(folder: string): Promise<number> {
  const last = Number(await readFile(join(folder, "port"), "utf8").catch(() => ""));
  if (Number.isInteger(last) && last > 0 && last < 65_536) {
    const trial = await tryPort(HOST, last);
    if (trial.kind === "free") return last;
  }
  const any = await tryPort(HOST, 0);
  if (any.kind !== "free") throw new Error(`no free port on ${HOST}`);
  return any.port;
}
