/** The built `holdfast` program as child processes, for tests that kill them. */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

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

/** Starts `holdfast ARGS…` with the given environment over a small one of ours. */
export function startHoldfast(
  name: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): HoldfastProcess {
  const child = spawn(process.execPath, [BIN, ...args], {
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

/** A port of loopback that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
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
      const why = last === undefined ? "" : `: ${last instanceof Error ? last.message : String(last)}`;
      throw new Error(`timed out: ${what}${why}`, { cause: last });
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
