/**
 * PM2's daemon of one `PM2_HOME`: started once, alone, and watched without calls of the command line.
 * Four first calls at once on a new home started four daemons and left three calls hanging (7.0.4), so
 * whoever may start one holds a file lock, and every other call waits for `ensure`.
 */
import { chmod, lstat, mkdir, readFile, stat } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import type { Clock } from "@holdfast/runtime";
import {
  isProcessAlive,
  processCommand,
  signalProcess,
  waitForExit,
  withFileLock,
} from "@holdfast/runtime/host";
import { Pm2CallError, type Pm2Cli } from "./pm2-cli.ts";

/**
 * Longest `PM2_HOME` in bytes: a socket's path ends at 108 (104 on macOS), and a longer one hangs PM2
 * without a word.
 */
export const PM2_HOME_MAX_BYTES = 90;

/** A daemon is up in under a second; Node's start on a busy machine takes longer. */
const START_TIMEOUT_MS = 45_000;
const LOCK_TIMEOUT_MS = 60_000;
const CONNECT_TIMEOUT_MS = 2_000;
const PING_TIMEOUT_MS = 10_000;
const END_TIMEOUT_MS = 5_000;
const POLL_MS = 50;

/** How the daemon is, seen from outside. */
export type DaemonLife =
  | { readonly kind: "alive"; readonly pid: number }
  /** Its process lives and its socket takes nobody: it starts, ends, or is broken. */
  | { readonly kind: "deaf"; readonly pid: number }
  | { readonly kind: "dead" };

/** See {@link createPm2Daemon}. */
export interface Pm2Daemon {
  /** Returns with a living daemon, started if need be. Throws in words. */
  ensure(signal: AbortSignal): Promise<number>;
  /** For a call that hung: a daemon that does not answer is ended and started anew. True if it was. */
  replaceIfStuck(signal: AbortSignal): Promise<boolean>;
  /** Ends it; what it started and does not know any more lives on. */
  end(signal: AbortSignal): Promise<void>;
}

/** Makes the watch over one `PM2_HOME`. */
export function createPm2Daemon(options: {
  readonly cli: Pm2Cli;
  readonly pm2Home: string;
  readonly clock: Clock;
  readonly pingTimeoutMs?: number;
}): Pm2Daemon {
  const { cli, pm2Home, clock } = options;
  const pingTimeoutMs = options.pingTimeoutMs ?? PING_TIMEOUT_MS;
  const locked = <T>(signal: AbortSignal, fn: () => Promise<T>): Promise<T> =>
    withFileLock(join(pm2Home, "daemon.lock"), { clock, timeoutMs: LOCK_TIMEOUT_MS, signal }, fn);

  const look = (): Promise<DaemonLife> => lookAtDaemon(pm2Home);

  const startLocked = async (signal: AbortSignal): Promise<number> => {
    let life = await look();
    if (life.kind === "deaf") life = await settle(look, signal, clock);
    if (life.kind === "alive") return life.pid;
    if (life.kind === "deaf") await killDaemon(life.pid, clock);
    await cli.run(["ping"], signal, START_TIMEOUT_MS);
    life = await settle(look, signal, clock);
    if (life.kind === "alive") return life.pid;
    throw new Error(
      `PM2's daemon did not start in ${pm2Home}: its own log is ${join(pm2Home, "pm2.log")}`,
    );
  };

  return {
    async ensure(signal) {
      const life = await look();
      if (life.kind === "alive") return life.pid;
      await prepareHome(pm2Home);
      return await locked(signal, () => startLocked(signal));
    },
    async replaceIfStuck(signal) {
      return await locked(signal, async () => {
        const life = await look();
        if (life.kind === "dead") return false;
        if (life.kind === "alive" && (await answers(cli, signal, pingTimeoutMs))) return false;
        await killDaemon(life.pid, clock);
        await startLocked(signal);
        return true;
      });
    },
    async end(signal) {
      if ((await look()).kind === "dead") return;
      await locked(signal, async () => {
        const life = await look();
        if (life.kind === "dead") return;
        if (life.kind === "alive") await askToEnd(cli, signal);
        if (await waitForExit(life.pid, END_TIMEOUT_MS, clock)) return;
        await killDaemon(life.pid, clock);
      });
    },
  };
}

/** Looks at a home's daemon by pid file and socket: no call of PM2, about a millisecond. */
export async function lookAtDaemon(pm2Home: string): Promise<DaemonLife> {
  const pid = await daemonPid(pm2Home);
  if (pid === undefined) return { kind: "dead" };
  return { kind: (await takesConnections(join(pm2Home, "rpc.sock"))) ? "alive" : "deaf", pid };
}

/** A daemon that starts or ends is deaf for a moment. */
async function settle(
  look: () => Promise<DaemonLife>,
  signal: AbortSignal,
  clock: Clock,
): Promise<DaemonLife> {
  const deadline = clock.elapsed() + END_TIMEOUT_MS;
  for (;;) {
    const life = await look();
    if (life.kind !== "deaf" || clock.elapsed() >= deadline) return life;
    await clock.sleep(POLL_MS, signal);
  }
}

async function answers(cli: Pm2Cli, signal: AbortSignal, timeoutMs: number): Promise<boolean> {
  try {
    return (await cli.run(["ping"], signal, timeoutMs)).includes("pong");
  } catch (error) {
    if (error instanceof Pm2CallError) return false;
    throw error;
  }
}

async function askToEnd(cli: Pm2Cli, signal: AbortSignal): Promise<void> {
  try {
    await cli.run(["kill"], signal);
  } catch (error) {
    // It may say so by its exit code although it went; whether it lives is looked at next.
    if (!(error instanceof Pm2CallError)) throw error;
  }
}

/** Ends a home's daemon, if it has one, without asking it: for a home that holds no processes. */
export async function killDaemonOf(pm2Home: string, clock: Clock): Promise<void> {
  const life = await lookAtDaemon(pm2Home);
  if (life.kind !== "dead") await killDaemon(life.pid, clock);
}

async function killDaemon(pid: number, clock: Clock): Promise<void> {
  signalProcess(pid, "SIGKILL");
  if (await waitForExit(pid, END_TIMEOUT_MS, clock)) return;
  throw new Error(`PM2's daemon, process ${pid}, does not end after SIGKILL`);
}

/** The daemon's pid, if a process with it lives and is this home's daemon: pids are given anew. */
async function daemonPid(pm2Home: string): Promise<number | undefined> {
  const text = await readFile(join(pm2Home, "pm2.pid"), "utf8").catch(() => "");
  const pid = Number(text.trim());
  if (!Number.isSafeInteger(pid) || pid <= 1 || !(await isProcessAlive(pid))) return undefined;
  if (!(await isOurAccounts(pid))) return undefined;
  return isDaemonCommand(await processCommand(pid), pm2Home, process.platform) ? pid : undefined;
}

/**
 * Whether a living process's command line is that of a home's daemon. After a power cut the pid may be
 * anything's: a kernel thread has no command line, and Linux shows that of every process of ours.
 * Elsewhere one that is not to be had leaves only the pid to go by.
 */
export function isDaemonCommand(
  command: string | undefined,
  pm2Home: string,
  platform: NodeJS.Platform,
): boolean {
  if (command === undefined || command === "") return platform !== "linux";
  // For a moment after its start it is `node …/pm2/lib/Daemon.js`.
  return command.includes(`God Daemon (${pm2Home})`) || /pm2.*Daemon\.js/i.test(command);
}

async function isOurAccounts(pid: number): Promise<boolean> {
  const uid = process.getuid?.();
  if (process.platform !== "linux" || uid === undefined) return true;
  const owner = await stat(`/proc/${pid}`).catch(() => undefined);
  return owner?.uid === uid;
}

function takesConnections(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const end = (answer: boolean) => (): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, end(false));
    socket.once("connect", end(true));
    socket.once("error", end(false));
  });
}

/**
 * Makes the folder, for this account alone. Throws in words for one that is too long or that another
 * account could write to: who writes there decides what we run.
 */
export async function prepareHome(pm2Home: string): Promise<void> {
  const bytes = Buffer.byteLength(pm2Home);
  if (bytes > PM2_HOME_MAX_BYTES) {
    throw new Error(
      `PM2's folder ${pm2Home} is ${bytes} bytes long, expected at most ${PM2_HOME_MAX_BYTES} ` +
        `(a longer one makes PM2 hang): choose a shorter folder for the machine`,
    );
  }
  await mkdir(pm2Home, { recursive: true, mode: 0o700 });
  const info = await lstat(pm2Home);
  const uid = process.getuid?.();
  if (!info.isDirectory() || (uid !== undefined && info.uid !== uid)) {
    throw new Error(
      `${pm2Home} is expected to be a folder of this account, found ` +
        `${info.isDirectory() ? `one of account ${info.uid}` : "something else"}: remove it`,
    );
  }
  if ((info.mode & 0o077) !== 0) await chmod(pm2Home, 0o700);
}
