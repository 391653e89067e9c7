/** A process manager without processes, on any clock: deaths are scripted, PM2's manners are kept. */
import type { Clock } from "@holdfast/runtime";
import type { ManagedProcess, ProcessManager, ProcessSpec } from "../src/process-manager/model.ts";

/** How a process ends by itself. A signal is told as PM2 tells it: exit code 0. */
export type FakeDeath =
  | { readonly kind: "exit"; readonly code: number }
  | { readonly kind: "signal"; readonly signal: string };

/** One life of a process, from its start. */
export interface FakeLife {
  /** Milliseconds of the clock after which it dies; null: never by itself. */
  readonly diesAfterMs: number | null;
  readonly death?: FakeDeath;
  /** What `remove` takes to end it, a program that is slow at SIGINT; default 0. */
  readonly stopMs?: number;
}

/** A process that somebody started, running or not. */
export interface FakeProcess {
  readonly spec: ProcessSpec;
  readonly pid: number;
  readonly startedAt: number;
  readonly life: FakeLife;
  /** Null while it runs. */
  readonly death: FakeDeath | null;
}

/** A call, in the order in which they came: `start comfyui-gpu0`, `list`. */
export type FakeCall = string;

/** See {@link createFakeProcessManager}. */
export interface FakeProcessManager extends ProcessManager {
  readonly calls: readonly FakeCall[];
  /** Every spec that was started, oldest first. */
  readonly started: readonly ProcessSpec[];
  /** The processes of the living daemon, dead ones that were not removed among them. */
  processes(): readonly FakeProcess[];
  /** Whether a pid of ours runs, under the daemon or as an orphan. */
  isAlive(pid: number): boolean;
  /** The lives of the next starts of a name, one each; then processes that live until removed. */
  script(name: string, ...lives: readonly FakeLife[]): void;
  /** Kills a running process now. */
  die(name: string, death: FakeDeath): void;
  /** The next call of this method throws this. */
  failNext(method: keyof ProcessManager, error: Error): void;
  /** SIGKILL for the daemon: its processes live on unseen, and `list` knows none. */
  killDaemon(): void;
  /** Processes that live on after {@link killDaemon}. */
  orphans(): readonly FakeProcess[];
  /** Ends an orphan, as whoever takes over a port does. */
  endOrphan(pid: number): void;
}

const FOREVER: FakeLife = { diesAfterMs: null };
const FIRST_PID = 1_000;

interface Entry {
  readonly spec: ProcessSpec;
  readonly pid: number;
  readonly startedAt: number;
  readonly life: FakeLife;
  killed: FakeDeath | null;
}

/**
 * Makes one. Nothing happens by timers: whether a process has died is worked out when somebody looks,
 * so a fake clock needs no more than to be advanced.
 */
export function createFakeProcessManager(options: { readonly clock: Clock }): FakeProcessManager {
  const { clock } = options;
  const calls: FakeCall[] = [];
  const started: ProcessSpec[] = [];
  const entries = new Map<string, Entry>();
  let orphans: Entry[] = [];
  const lives = new Map<string, FakeLife[]>();
  const failures = new Map<keyof ProcessManager, Error[]>();
  let nextPid = FIRST_PID;

  const deathOf = (entry: Entry): FakeDeath | null => {
    if (entry.killed !== null) return entry.killed;
    const after = entry.life.diesAfterMs;
    if (after === null || clock.now() - entry.startedAt < after) return null;
    return entry.life.death ?? { kind: "exit", code: 1 };
  };
  const isRunning = (entry: Entry): boolean => deathOf(entry) === null;
  const seen = (entry: Entry): FakeProcess => ({
    spec: entry.spec,
    pid: entry.pid,
    startedAt: entry.startedAt,
    life: entry.life,
    death: deathOf(entry),
  });
  const toManaged = (entry: Entry): ManagedProcess => {
    const death = deathOf(entry);
    const common = {
      name: entry.spec.name,
      digest: entry.spec.digest,
      startedAt: entry.startedAt,
    };
    if (death === null) return { ...common, state: "online", pid: entry.pid, exitCode: null };
    const exitCode = death.kind === "exit" ? death.code : 0;
    return { ...common, state: "stopped", pid: null, exitCode };
  };
  const enter = (method: keyof ProcessManager, call: string, signal: AbortSignal): void => {
    signal.throwIfAborted();
    calls.push(call);
    const error = failures.get(method)?.shift();
    if (error !== undefined) throw error;
  };
  const end = async (name: string): Promise<void> => {
    const entry = entries.get(name);
    if (entry === undefined) return;
    if (isRunning(entry)) {
      const { stopTimeoutMs } = entry.spec;
      const took = Math.min(entry.life.stopMs ?? 0, stopTimeoutMs);
      if (took > 0) await clock.sleep(took);
      entry.killed ??= { kind: "signal", signal: took < stopTimeoutMs ? "SIGINT" : "SIGKILL" };
    }
    if (entries.get(name) === entry) entries.delete(name);
  };

  return {
    calls,
    started,
    processes: () => [...entries.values()].map(seen),
    isAlive: (pid) =>
      [...entries.values(), ...orphans].some((entry) => entry.pid === pid && isRunning(entry)),
    script(name, ...more) {
      lives.set(name, [...(lives.get(name) ?? []), ...more]);
    },
    die(name, death) {
      const entry = entries.get(name);
      if (entry === undefined || !isRunning(entry)) throw new Error(`${name} does not run`);
      entry.killed = death;
    },
    failNext(method, error) {
      failures.set(method, [...(failures.get(method) ?? []), error]);
    },
    killDaemon() {
      orphans.push(...[...entries.values()].filter(isRunning));
      entries.clear();
    },
    orphans: () => orphans.filter(isRunning).map(seen),
    endOrphan(pid) {
      orphans = orphans.filter((entry) => entry.pid !== pid);
    },
    async ensureReady(signal) {
      enter("ensureReady", "ensureReady", signal);
    },
    async list(signal) {
      enter("list", "list", signal);
      return [...entries.values()].map(toManaged);
    },
    async start(spec, signal) {
      enter("start", `start ${spec.name}`, signal);
      const before = entries.get(spec.name);
      if (before !== undefined && isRunning(before) && before.spec.digest === spec.digest) {
        return toManaged(before);
      }
      await end(spec.name);
      const entry: Entry = {
        spec,
        pid: (nextPid += 1),
        startedAt: clock.now(),
        life: lives.get(spec.name)?.shift() ?? FOREVER,
        killed: null,
      };
      started.push(spec);
      entries.set(spec.name, entry);
      return toManaged(entry);
    },
    async remove(name, signal) {
      enter("remove", `remove ${name}`, signal);
      await end(name);
    },
    async reopenLogs(signal) {
      enter("reopenLogs", "reopenLogs", signal);
    },
    async kill(signal) {
      enter("kill", "kill", signal);
      await Promise.all([...entries.keys()].map(end));
    },
  };
}
