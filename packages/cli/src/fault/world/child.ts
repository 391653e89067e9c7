import { spawn, type ChildProcess } from "node:child_process";
import { createWriteStream } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Clock } from "@holdfast/runtime";

/** A `holdfast` of this build as a process of its own, that can be killed for real. */
export interface Child {
  readonly name: string;
  isRunning(): boolean;
  /** Resolves when its output holds the text; rejects when it ends without, or after the limit. */
  saw(text: string, limitMs: number): Promise<void>;
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>;
  /** SIGTERM, and SIGKILL where that takes too long. */
  stop(): Promise<void>;
  /** Its last words. */
  tail(): string;
}

/** How to start one. */
export interface ChildOptions {
  readonly name: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Words before the command, such as `ip netns exec NAME`. */
  readonly prefix?: readonly string[];
  /** Takes both outputs; appended to. */
  readonly logFile: string;
  readonly clock: Clock;
}

const PROGRAM = fileURLToPath(new URL("../../../bin/holdfast.js", import.meta.url));
/** What a child may see of our environment: nothing secret, and no setting of somebody's Holdfast. */
const PASSED_ON = ["PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SystemRoot", "NODE_OPTIONS", "LANG"];
const TAIL = 4_000;
const STOP_LIMIT_MS = 8_000;

/** Starts one. */
export function startChild(options: ChildOptions): Child {
  const { name, args, env, prefix = [], logFile, clock } = options;
  const [command = process.execPath, ...rest] = [...prefix, process.execPath, PROGRAM, ...args];
  const child = spawn(command, rest, {
    // A group of its own: Ctrl-C is ours, and the order in which all end is too.
    detached: true,
    env: { ...passedOn(), NO_COLOR: "1", HOLDFAST_LOG_FORMAT: "json", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  return follow(name, child, logFile, clock);
}

function follow(name: string, child: ChildProcess, logFile: string, clock: Clock): Child {
  const log = createWriteStream(logFile, { flags: "a", mode: 0o600 });
  let text = "";
  let isRunning = true;
  const watchers = new Set<() => void>();
  const wake = (): void => {
    for (const watch of watchers) watch();
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => {
      log.write(chunk);
      text = (text + chunk.toString("utf8")).slice(-TAIL * 4);
      wake();
    });
  }
  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      isRunning = false;
      log.end();
      resolve();
      wake();
    };
    child.once("error", end);
    child.once("exit", end);
  });
  const tail = (): string => text.slice(-TAIL);
  const kill = async (): Promise<void> => {
    if (isRunning) child.kill("SIGKILL");
    await ended;
  };
  return {
    name,
    isRunning: () => isRunning,
    tail,
    kill,
    async saw(wanted, limitMs) {
      const limit = new AbortController();
      const deadline = clock.sleep(limitMs, limit.signal).then(
        () => `did not say "${wanted}" in ${limitMs / 1_000} s`,
        () => undefined,
      );
      const said = new Promise<string | undefined>((resolve) => {
        const watch = (): void => {
          if (text.includes(wanted)) resolve(undefined);
          else if (!isRunning) resolve("ended");
        };
        watchers.add(watch);
        watch();
      });
      const problem = await Promise.race([said, deadline]);
      limit.abort();
      if (problem !== undefined) throw new Error(`${name} ${problem}:\n${tail()}`);
    },
    async stop() {
      if (!isRunning) return;
      child.kill("SIGTERM");
      const limit = new AbortController();
      const late = clock.sleep(STOP_LIMIT_MS, limit.signal).then(kill, () => undefined);
      await ended;
      limit.abort();
      await late;
    },
  };
}

function passedOn(): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const name of PASSED_ON) {
    const value = process.env[name];
    if (value !== undefined) kept[name] = value;
  }
  return kept;
}
