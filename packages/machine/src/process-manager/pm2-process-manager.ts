/**
 * The process manager on PM2. What runs is known from two sides: PM2's list, and the marks in the
 * processes' own environments. So a death of PM2's daemon ends nobody's job: the processes go on, are
 * listed as before, and the next start of the same spec takes them as they are.
 *
 * I1 A name has at most one process of ours: whatever else bears the name is ended before a start.
 * I2 Nothing of this program's environment reaches a process, and nothing beyond its spec and marks.
 * I3 A process that somebody else put under this PM2 is listed without digest and never touched.
 */
import { join } from "node:path";
import type { AgentLog } from "@holdfast/agent";
import type { Clock } from "@holdfast/runtime";
import { isProcessAlive, withFileLock } from "@holdfast/runtime/host";
import { StepFailure } from "../install/model.ts";
import type { ManagedProcess, ProcessManager, ProcessSpec } from "./model.ts";
import { decideOrphan, orphansAmong, toManagedProcess } from "./orphans.ts";
import { createPm2Cli, Pm2CallError, type Pm2Cli } from "./pm2-cli.ts";
import { createPm2Daemon, lookAtDaemon, prepareHome, type Pm2Daemon } from "./pm2-daemon.ts";
import { parsePm2List, type Pm2Entry } from "./pm2-list.ts";
import { installPm2, type Pm2ToolOptions } from "./pm2-tool.ts";
import { endProcessTree } from "./process-end.ts";
import { MARK, stopTimeoutOf } from "./process-marks.ts";
import { checkSpec, removeStartFiles, writeStartFiles } from "./start-files.ts";
import { createTurns } from "./turns.ts";
import { readMarkedProcesses, type MarkedProcess } from "./process-table.ts";

/** For a process whose marks do not say how long it may take to stop. */
const DEFAULT_STOP_MS = 10_000;
const LOCK_TIMEOUT_MS = 60_000;

/** What the manager is made of. */
export interface Pm2ManagerOptions extends Omit<Pm2ToolOptions, "clock"> {
  /** Folder of the machine: names its processes among those of other machines on this host. */
  readonly machine: string;
  readonly pm2Home: string;
  readonly clock: Clock;
  readonly log?: AgentLog;
  readonly limits?: {
    /** Of one call of PM2. */
    readonly callTimeoutMs?: number;
    /** Of the question whether a daemon that left a call hanging still answers. */
    readonly pingTimeoutMs?: number;
  };
}

interface Observed {
  readonly entries: readonly Pm2Entry[];
  readonly marked: readonly MarkedProcess[];
  readonly orphans: readonly MarkedProcess[];
}

interface Pm2 {
  readonly cli: Pm2Cli;
  readonly daemon: Pm2Daemon;
}

/** Makes it; nothing is looked at or started before the first call. */
export function createPm2ProcessManager(options: Pm2ManagerOptions): ProcessManager {
  return new Pm2ProcessManager(options);
}

class Pm2ProcessManager implements ProcessManager {
  readonly #options: Pm2ManagerOptions;
  #pm2: Pm2 | undefined;
  /** Of the daemon as it was last seen; null before. */
  #daemonPid: number | null = null;
  #preparing: { readonly signal: AbortSignal; readonly done: Promise<Pm2> } | undefined;
  /** Per name, the last of its starts and removals: they take turns. */
  readonly #turns = createTurns();

  constructor(options: Pm2ManagerOptions) {
    this.#options = options;
  }

  async ensureReady(signal: AbortSignal): Promise<void> {
    await this.#ready(signal);
  }

  async list(signal: AbortSignal): Promise<readonly ManagedProcess[]> {
    const { entries, orphans } = await this.#observe(signal);
    const unseen = await Promise.all(orphans.map(toManagedProcess));
    const taken = new Set(unseen.map((one) => one.name));
    // An orphan lives; what PM2 has under its name at most remembers an earlier end.
    const known = entries.map((entry) => entry.process).filter((one) => !taken.has(one.name));
    return [...known, ...unseen];
  }

  async start(spec: ProcessSpec, signal: AbortSignal): Promise<ManagedProcess> {
    return await this.#turns.take(spec.name, signal, async () => {
      // Within the turn: a look at the disk before it would let a later call come first.
      await checkSpec(spec);
      const before = await this.#observe(signal);
      const orphan = before.orphans.find((one) => one.marks[MARK.name] === spec.name);
      if (orphan !== undefined && this.#mayGoOn(orphan, spec))
        return await toManagedProcess(orphan);
      const running = before.entries.find((one) => one.process.name === spec.name);
      if (orphan === undefined && isRunning(running, spec)) return running.process;
      await this.#endAll(spec.name, before, signal);
      await this.#launch(spec, signal);
      const started = (await this.list(signal)).find((one) => one.name === spec.name);
      if (started?.digest === spec.digest) return started;
      throw new Error(
        `${spec.name} was started and PM2 does not list it: its log is ${spec.errorFile}, ` +
          `PM2's ${join(this.#options.pm2Home, "pm2.log")}`,
      );
    });
  }

  async remove(name: string, signal: AbortSignal): Promise<void> {
    await this.#turns.take(name, signal, async () => {
      const before = await this.#observe(signal);
      await this.#endAll(name, before, signal);
      await removeStartFiles(name, this.#options.pm2Home);
      if (!before.entries.some((entry) => entry.process.name === name)) return;
      const { cli } = await this.#ready(signal);
      await this.#listLocked(signal, () => this.#forget(name, cli, signal));
    });
  }

  async reopenLogs(signal: AbortSignal): Promise<void> {
    const { cli } = await this.#ready(signal);
    await this.#call(cli, ["reloadLogs"], signal);
  }

  async kill(signal: AbortSignal): Promise<void> {
    const marked = await readMarkedProcesses(this.#options.machine);
    const names = new Set(marked.map((one) => one.marks[MARK.name]));
    await Promise.all([...names].map((name) => this.#endByMarks(name, marked, signal)));
    // Without this a machine without PM2 would install it to find out that nothing runs.
    if ((await lookAtDaemon(this.#options.pm2Home)).kind === "dead") return;
    const { daemon } = await this.#tools(signal);
    await daemon.end(signal);
  }

  async #ready(signal: AbortSignal): Promise<Pm2> {
    const pm2 = await this.#tools(signal);
    const pid = await pm2.daemon.ensure(signal);
    if (this.#daemonPid !== null && this.#daemonPid !== pid) {
      const { log } = this.#options;
      log?.warn(
        { pid, before: this.#daemonPid },
        "PM2 had ended and runs anew; its processes go on",
      );
    }
    this.#daemonPid = pid;
    return pm2;
  }

  /** PM2 found or installed, once; a failure is forgotten, so that the next call tries again. */
  async #tools(signal: AbortSignal): Promise<Pm2> {
    if (this.#pm2 !== undefined) return this.#pm2;
    this.#preparing ??= { signal, done: this.#prepare(signal) };
    const preparing = this.#preparing;
    try {
      this.#pm2 = await preparing.done;
      return this.#pm2;
    } catch (error) {
      if (this.#preparing === preparing) this.#preparing = undefined;
      // It was called off by whoever began it, and not by us.
      if (preparing.signal.aborted && !signal.aborted) return await this.#tools(signal);
      throw error;
    }
  }

  async #prepare(signal: AbortSignal): Promise<Pm2> {
    const { pm2Home, clock, limits } = this.#options;
    if (process.platform === "win32") {
      throw new Error("processes are kept by PM2 on Linux and macOS only: run ComfyUI elsewhere");
    }
    await prepareHome(pm2Home);
    const program = await inWords(() => installPm2(this.#options, signal));
    const cli = createPm2Cli({
      program,
      pm2Home,
      clock,
      ...(limits?.callTimeoutMs === undefined ? {} : { callTimeoutMs: limits.callTimeoutMs }),
    });
    const daemon = createPm2Daemon({
      cli,
      pm2Home,
      clock,
      ...(limits?.pingTimeoutMs === undefined ? {} : { pingTimeoutMs: limits.pingTimeoutMs }),
    });
    return { cli, daemon };
  }

  /** A call; where it hung because the daemon does, that is replaced, and the next call works. */
  async #call(cli: Pm2Cli, args: readonly string[], signal: AbortSignal): Promise<string> {
    try {
      return await cli.run(args, signal);
    } catch (error) {
      if (!(error instanceof Pm2CallError) || error.kind !== "timeout") throw error;
      const { daemon } = await this.#tools(signal);
      if (!(await daemon.replaceIfStuck(signal))) throw error;
      throw new Error(
        `${error.message}; its daemon did not answer and was started anew, the processes go on`,
        { cause: error },
      );
    }
  }

  async #observe(signal: AbortSignal): Promise<Observed> {
    const { cli } = await this.#ready(signal);
    const listed = parsePm2List(await this.#call(cli, ["jlist"], signal));
    const entries = await Promise.all(listed.map(withoutDeadPid));
    const marked = await readMarkedProcesses(this.#options.machine);
    const knownPids = new Set(entries.flatMap((entry) => entry.process.pid ?? []));
    return { entries, marked, orphans: orphansAmong(marked, knownPids) };
  }

  #mayGoOn(orphan: MarkedProcess, spec: ProcessSpec): boolean {
    const digest = orphan.marks[MARK.digest];
    const wanted = new Map([[spec.name, spec.digest]]);
    const { kind, reason } = decideOrphan({ name: spec.name, digest }, wanted);
    this.#options.log?.warn(
      { name: spec.name, pid: orphan.pid, decision: kind, reason },
      "a process lives that PM2 lost sight of",
    );
    return kind === "adopt";
  }

  /** Ends all that runs under a name: PM2's, orphans, and children that outlived their parent (I1). */
  async #endAll(name: string, before: Observed, signal: AbortSignal): Promise<void> {
    const mine = before.entries.filter((entry) => entry.process.name === name);
    this.#refuseForeign(name, mine);
    for (const entry of mine) await this.#end(name, entry, signal);
    await this.#endByMarks(name, before.marked, signal);
  }

  /** I3 */
  #refuseForeign(name: string, entries: readonly Pm2Entry[]): void {
    const { machine, pm2Home } = this.#options;
    if (entries.every((entry) => entry.marks?.[MARK.machine] === machine)) return;
    throw new Error(
      `PM2 in ${pm2Home} has a process ${name} that Holdfast did not start: ` +
        `remove it (PM2_HOME=${pm2Home} pm2 delete ${name}), or give this one another name`,
    );
  }

  async #end(name: string, entry: Pm2Entry, signal: AbortSignal): Promise<void> {
    const { machine, clock } = this.#options;
    // By signals of ours, not by `pm2 delete`: that asks `ps` for the children, and on a machine
    // without it sends no SIGINT at all; and a call would have to last as long as the process takes.
    const stopTimeoutMs = stopTimeoutOf(entry.marks, DEFAULT_STOP_MS);
    const target = { machine, name, pid: entry.process.pid, stopTimeoutMs };
    await endProcessTree(target, { clock, signal });
  }

  async #endByMarks(
    name: string,
    marked: readonly MarkedProcess[],
    signal: AbortSignal,
  ): Promise<void> {
    const { machine, clock } = this.#options;
    const ours = marked.filter((one) => one.marks[MARK.name] === name);
    const times = ours.map((one) => stopTimeoutOf(one.marks, DEFAULT_STOP_MS));
    if (times.length === 0) return;
    const target = { machine, name, pid: null, stopTimeoutMs: Math.max(...times) };
    await endProcessTree(target, { clock, signal });
  }

  /** Takes it off PM2's list, by id: PM2 reads some names as ids, files or "all". Under the lock. */
  async #forget(name: string, cli: Pm2Cli, signal: AbortSignal): Promise<void> {
    for (const listed of parsePm2List(await this.#call(cli, ["jlist"], signal))) {
      if (listed.process.name !== name) continue;
      const entry = await withoutDeadPid(listed);
      if (entry.process.pid !== null) {
        throw new Error(`${name} was started by another program at the same time: try again`);
      }
      await this.#call(cli, ["delete", String(entry.pmId), "--silent"], signal);
    }
  }

  async #launch(spec: ProcessSpec, signal: AbortSignal): Promise<void> {
    const { machine, pm2Home } = this.#options;
    const { cli } = await this.#ready(signal);
    const file = await writeStartFiles(spec, machine, pm2Home);
    await this.#listLocked(signal, async () => {
      // `pm2 start` of a name that is there restarts it, with its old settings.
      await this.#forget(spec.name, cli, signal);
      await this.#call(cli, ["start", file, "--silent"], signal);
    });
  }

  /** Other programs of this machine (`holdfast machine …`) change PM2's list too. */
  #listLocked<T>(signal: AbortSignal, fn: () => Promise<T>): Promise<T> {
    const { pm2Home, clock } = this.#options;
    const lock = { clock, timeoutMs: LOCK_TIMEOUT_MS, signal };
    return withFileLock(join(pm2Home, "list.lock"), lock, fn);
  }
}

function isRunning(entry: Pm2Entry | undefined, spec: ProcessSpec): entry is Pm2Entry {
  return entry?.process.digest === spec.digest && entry.process.state === "online";
}

/** For a moment after an end the daemon has not heard of it yet. */
async function withoutDeadPid(entry: Pm2Entry): Promise<Pm2Entry> {
  const { pid, state } = entry.process;
  if (pid === null || (await isProcessAlive(pid))) return entry;
  const isEnd = state === "stopped" || state === "errored";
  return { ...entry, process: { ...entry.process, pid: null, state: isEnd ? state : "stopped" } };
}

async function inWords<T>(fn: () => Promise<T>): Promise<T> {
  try {
    return await fn();
  } catch (error) {
    if (!(error instanceof StepFailure)) throw error;
    throw new Error(`${error.message}. ${error.advice}`, { cause: error });
  }
}
