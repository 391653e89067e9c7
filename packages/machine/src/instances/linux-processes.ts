import { connect } from "node:net";
import type { Clock } from "@holdfast/runtime";
import { signalProcess } from "@holdfast/runtime/host";
import type { FoundInstance, HostProcesses, PortListener } from "./host-processes.ts";
import { ENV_INSTANCE, ENV_MACHINE, ENV_SPEC } from "./process-spec.ts";
import {
  allPids,
  holdsSocket,
  portArgument,
  parseResident,
  readCommand,
  readEnvironment,
  readListeners,
  readProc,
  readStat,
  treeOf,
  type ProcStat,
} from "./proc-files.ts";

/** Processes read before other work gets its turn: about a millisecond. */
const SLICE = 64;
/** A connection of the host's own is made at once, or not soon. */
const CONNECT_MS = 1_000;
/** Between two looks whether an ended process is gone. */
const END_POLL_MS = 100;
/** A process that was sent SIGKILL is gone within this, unless the kernel cannot let go of it. */
const KILL_WAIT_MS = 5_000;

/**
 * The processes of a Linux host, by `/proc` alone. `root` is the machine folder whose instances are
 * "ours". Throws elsewhere.
 */
export function linuxProcesses(root: string, clock: Clock): HostProcesses {
  if (process.platform !== "linux") {
    throw new Error(
      `expected Linux, found ${process.platform}: instances are supervised by way of /proc. ` +
        "Attach the agent to a ComfyUI that is started by other means instead.",
    );
  }
  return new LinuxProcesses(root, clock);
}

class LinuxProcesses implements HostProcesses {
  readonly #root: string;
  readonly #clock: Clock;
  readonly #bootId = (readProc("sys/kernel/random/boot_id") ?? "").trim();

  constructor(root: string, clock: Clock) {
    this.#root = root;
    this.#clock = clock;
  }

  startTimeOf(pid: number): string | undefined {
    if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
    const stat = readStat(pid);
    // A zombie has ended, and holds nothing any more.
    if (stat === undefined || stat.state === "Z" || stat.state === "X") return undefined;
    return this.#startTime(stat);
  }

  isAlive(pid: number, startTime: string): boolean {
    const found = this.startTimeOf(pid);
    if (found !== undefined) return found === startTime;
    // With `hidepid` other accounts' processes are not in /proc; a lock of one must hold all the same.
    return isHidden(pid);
  }

  accountOf(pid: number): number | undefined {
    const account = /^Uid:\s+\d+\s+(\d+)/m.exec(readProc(`${pid}/status`) ?? "")?.[1];
    return account === undefined ? undefined : Number(account);
  }

  startedPortOf(pid: number): number | undefined {
    return portArgument((readProc(`${pid}/cmdline`) ?? "").split("\0"));
  }

  /** By a connection that is closed at once: the table of sockets costs too much for each second. */
  async isListening(url: string): Promise<boolean> {
    const { hostname, port, protocol } = new URL(url);
    const host = hostname.replace(/^\[(.*)\]$/, "$1");
    const settled = new AbortController();
    return await new Promise<boolean>((resolve) => {
      const socket = connect({ host, port: Number(port || (protocol === "https:" ? 443 : 80)) });
      const end = (isListening: boolean): void => {
        settled.abort();
        socket.destroy();
        resolve(isListening);
      };
      socket.once("connect", () => end(true));
      socket.once("error", () => end(false));
      this.#clock.sleep(CONNECT_MS, settled.signal).then(
        () => end(false),
        () => undefined, // It was decided before.
      );
    });
  }

  async listenerOf(port: number): Promise<PortListener | undefined> {
    const inodes = (await readListeners()).get(port);
    if (inodes === undefined) return undefined;
    const pid = await firstOf(allPids(), (candidate) => holdsSocket(candidate, inodes));
    if (pid === undefined) {
      return { pid: null, command: "", isOurs: false, instance: null, digest: null };
    }
    const env = readEnvironment(pid);
    const isOurs = env?.get(ENV_MACHINE) === this.#root && env.has(ENV_INSTANCE);
    return {
      pid,
      command: readCommand(pid),
      isOurs,
      instance: isOurs ? (env.get(ENV_INSTANCE) ?? null) : null,
      digest: isOurs ? (env.get(ENV_SPEC) ?? null) : null,
    };
  }

  async instances(): Promise<readonly FoundInstance[]> {
    const found: (FoundInstance & { readonly parent: number })[] = [];
    await forEachInSlices(allPids(), (pid) => {
      const env = readEnvironment(pid);
      const instance = env?.get(ENV_INSTANCE);
      if (env?.get(ENV_MACHINE) !== this.#root || instance === undefined) return;
      const stat = readStat(pid);
      if (stat === undefined || stat.state === "Z" || stat.state === "X") return;
      const startTime = this.#startTime(stat);
      const digest = env.get(ENV_SPEC) ?? null;
      found.push({ pid, startTime, instance, digest, parent: stat.parent });
    });
    // Children inherit the variables: told is only whoever was not started by one of them.
    const names = new Map(found.map(({ pid, instance }) => [pid, instance]));
    return found
      .filter(({ parent, instance }) => names.get(parent) !== instance)
      .map(({ pid, startTime, instance, digest }) => ({ pid, startTime, instance, digest }));
  }

  async residentBytes(pids: readonly number[]): Promise<ReadonlyMap<number, number>> {
    const table = await processTable();
    const sizes = new Map<number, number>();
    for (const root of pids) {
      const tree = treeOf(root, table);
      if (tree.length === 0) continue;
      sizes.set(
        root,
        tree.reduce((sum, { pid }) => sum + parseResident(readProc(`${pid}/status`) ?? ""), 0),
      );
    }
    return sizes;
  }

  async terminate(pid: number, startTime: string, graceMs: number): Promise<boolean> {
    if (!this.isAlive(pid, startTime)) return true;
    // Seen before it ends: afterwards its children belong to somebody else.
    const tree = treeOf(pid, await processTable()).map((stat) => ({
      pid: stat.pid,
      startTime: this.#startTime(stat),
    }));
    try {
      if (graceMs > 0) {
        signalProcess(pid, "SIGINT");
        await this.#until(graceMs, () => !this.isAlive(pid, startTime));
      }
      for (const one of tree) {
        if (this.isAlive(one.pid, one.startTime)) signalProcess(one.pid, "SIGKILL");
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EPERM") return false;
      throw error;
    }
    return await this.#until(KILL_WAIT_MS, () =>
      tree.every((one) => !this.isAlive(one.pid, one.startTime)),
    );
  }

  #startTime(stat: ProcStat): string {
    return `${this.#bootId}:${stat.startTicks}`;
  }

  async #until(ms: number, isSo: () => boolean): Promise<boolean> {
    const deadline = this.#clock.elapsed() + ms;
    while (!isSo()) {
      const leftMs = deadline - this.#clock.elapsed();
      if (leftMs <= 0) return false;
      await this.#clock.sleep(Math.min(END_POLL_MS, leftMs));
    }
    return true;
  }
}

/** There, and nobody this account may look at. */
function isHidden(pid: number): boolean {
  if (readStat(pid) !== undefined) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

async function processTable(): Promise<readonly ProcStat[]> {
  const table: ProcStat[] = [];
  await forEachInSlices(allPids(), (pid) => {
    const stat = readStat(pid);
    if (stat !== undefined) table.push(stat);
  });
  return table;
}

async function firstOf(
  pids: readonly number[],
  isIt: (pid: number) => boolean,
): Promise<number | undefined> {
  let first: number | undefined;
  await forEachInSlices(pids, (pid) => {
    if (first === undefined && isIt(pid)) first = pid;
  });
  return first;
}

/** Does something for each process, letting other work in between. */
async function forEachInSlices(
  pids: readonly number[],
  look: (pid: number) => void,
): Promise<void> {
  for (let at = 0; at < pids.length; at += SLICE) {
    for (const pid of pids.slice(at, at + SLICE)) look(pid);
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }
}
