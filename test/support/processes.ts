/** The built `holdfast` program as child processes, for tests that kill them. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { tryPort } from "@holdfast/runtime/host";

const BIN = fileURLToPath(new URL("../../packages/cli/bin/holdfast.js", import.meta.url));
/** Output kept of a child, for the message of a failed test. */
const TAIL_CHARS = 20_000;

/** One child. */
export interface HoldfastProcess {
  readonly name: string;
  readonly pid: number;
  /** Resolves with the exit code, or the signal's name. */
  readonly exited: Promise<number | string>;
  output(): string;
  /** Resolves when the output (both streams) holds the text or fits the pattern. */
  saw(text: string | RegExp, timeoutMs?: number): Promise<void>;
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>;
  /** SIGTERM (or SIGINT), and waits for the end; SIGKILL after the limit. */
  stop(signal?: NodeJS.Signals, limitMs?: number): Promise<number | string>;
  isRunning(): boolean;
}

/** Starts `holdfast ARGS…` with the given environment over a small one of ours, in a folder if one is given. */
export function startHoldfast(
  name: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  cwd?: string,
): HoldfastProcess {
  const child = spawn(process.execPath, [BIN, ...args], {
    ...(cwd !== undefined && { cwd }),
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: process.env["HOME"] ?? tmpdir(),
      NO_COLOR: "1",
      HOLDFAST_LOG_FORMAT: "json",
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  return follow(name, child);
}

function follow(name: string, child: ChildProcess): HoldfastProcess {
  let text = "";
  const watchers = new Set<() => void>();
  const onData = (chunk: Buffer): void => {
    text = (text + chunk.toString("utf8")).slice(-TAIL_CHARS * 4);
    for (const watch of watchers) watch();
  };
  child.stdout?.on("data", onData);
  child.stderr?.on("data", onData);
  let isRunning = true;
  const exited = new Promise<number | string>((resolve) => {
    child.once("error", (error) => {
      isRunning = false;
      resolve(String(error));
    });
    child.once("exit", (code, signal) => {
      isRunning = false;
      resolve(code ?? signal ?? "unknown");
      for (const watch of watchers) watch();
    });
  });
  const matches = (wanted: string | RegExp): boolean =>
    typeof wanted === "string" ? text.includes(wanted) : wanted.test(text);
  return {
    name,
    pid: child.pid ?? -1,
    exited,
    output: () => text.slice(-TAIL_CHARS),
    isRunning: () => isRunning,
    saw(wanted, timeoutMs = 60_000) {
      return new Promise((resolve, reject) => {
        const end = (settle: () => void): void => {
          watchers.delete(watch);
          clearTimeout(timer);
          settle();
        };
        const fail = (why: string): void =>
          end(() => reject(new Error(`${name} ${why} "${String(wanted)}":\n${text.slice(-4000)}`)));
        const watch = (): void => {
          if (matches(wanted)) end(resolve);
          else if (!isRunning) fail("ended without saying");
        };
        const timer = setTimeout(() => fail(`did not say in ${timeoutMs} ms`), timeoutMs);
        watchers.add(watch);
        watch();
      });
    },
    async kill() {
      if (isRunning) child.kill("SIGKILL");
      await exited;
    },
    async stop(signal = "SIGTERM", limitMs = 30_000) {
      if (!isRunning) return await exited;
      child.kill(signal);
      const timer = setTimeout(() => child.kill("SIGKILL"), limitMs);
      const code = await exited;
      clearTimeout(timer);
      return code;
    },
  };
}

/** Below the ports that systems give to outgoing connections: one of those would take it before its server does. */
const PORTS_FROM = 10_000;
/** Ports of one worker of the test runner: what one has chosen and not yet used, no other chooses. */
const PORTS_OF_A_WORKER = 2_000;
const WORKERS = 11;
let nextPort = Math.floor(Math.random() * PORTS_OF_A_WORKER);

/**
 * The first of some ports of loopback, one after the other, that nobody listens on. This process is given
 * none of them again for a long time.
 */
export async function freePort(inARow = 1): Promise<number> {
  const worker = Number(process.env["VITEST_POOL_ID"] ?? 0) % WORKERS;
  for (let looks = 0; looks < PORTS_OF_A_WORKER; looks += 1) {
    if (nextPort + inARow > PORTS_OF_A_WORKER) nextPort = 0;
    const port = PORTS_FROM + worker * PORTS_OF_A_WORKER + nextPort;
    nextPort += inARow;
    const ports = Array.from({ length: inARow }, (_, at) => port + at);
    const trials = await Promise.all(ports.map((one) => tryPort("127.0.0.1", one)));
    if (trials.every(({ kind }) => kind === "free")) return port;
  }
  throw new Error(`no free port among ${PORTS_OF_A_WORKER}`);
}

/** A folder that is removed at the end. */
export async function temporaryFolder(): Promise<{ path: string; remove(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "hf-"));
  return { path, remove: () => rm(path, { recursive: true, force: true, maxRetries: 5 }) };
}

/** Waits until `look` gives something that is neither false nor undefined; throws what it threw last. */
export async function until<T>(
  what: string,
  look: () => Promise<T | false | undefined> | T | false | undefined,
  timeoutMs = 60_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const found = await look();
      if (found !== false && found !== undefined) return found;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) {
      const why =
        last === undefined ? "" : `: ${last instanceof Error ? last.message : String(last)}`;
      throw new Error(`timed out: ${what}${why}`, { cause: last });
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
