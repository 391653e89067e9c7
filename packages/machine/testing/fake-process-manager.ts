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
  /** The processes that are listed: dead ones that were not removed are among them. */
  processes(): readonly FakeProcess[];
  /** Whether a pid of ours runs. */
  isAlive(pid: number): boolean;
  /** The lives of the next starts of a name, one each; then processes that live until removed. */
  script(name: string, ...lives: readonly FakeLife[]): void;
  /** Kills a running process now. */
  die(name: string, death: FakeDeath): void;
  /** The next call of this method throws this. */
  failNext(method: keyof ProcessManager, error: Error): void;
  /**
   * SIGKILL for the daemon. As with the real one, its processes live on and are listed, but of those
   * that are dead, or die later, nothing is known any more: they are not listed.
   */
  killDaemon(): void;
}

const FOREVER: FakeLife = { diesAfterMs: null };
const FIRST_PID = 1_000;

interface Entry {
  readonly spec: ProcessSpec;
  readonly pid: number;
  readonly startedAt: number;
  readonly life: FakeLife;
  killed: FakeDeath | null;
  /** The daemon that started it is gone. */
  isOrphan: boolean;
}

/**
 * Makes one. Nothing happens by timers: whether a process has died is worked out when somebody looks,
 * so a fake clock needs no more than to be advanced.
 */
export function createFakeProcessManager(options: { readonly clock: Clock }): FakeProcessManager {
  return new Fake(options.clock);
}

class Fake implements FakeProcessManager {
  readonly calls: FakeCall[] = [];
  readonly started: ProcessSpec[] = [];
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  readonly #lives = new Map<string, FakeLife[]>();
  readonly #failures = new Map<keyof ProcessManager, Error[]>();
  #lastPid = FIRST_PID;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  processes(): readonly FakeProcess[] {
    return this.#listed().map((entry) => ({
      spec: entry.spec,
      pid: entry.pid,
      startedAt: entry.startedAt,
      life: entry.life,
      death: this.#deathOf(entry),
    }));
  }

  isAlive(pid: number): boolean {
    return this.#listed().some((entry) => entry.pid === pid && this.#deathOf(entry) === null);
  }

  script(name: string, ...lives: readonly FakeLife[]): void {
    this.#lives.set(name, [...(this.#lives.get(name) ?? []), ...lives]);
  }

  die(name: string, death: FakeDeath): void {
    const entry = this.#entries.get(name);
    if (entry === undefined || this.#deathOf(entry) !== null) {
      throw new Error(`${name} does not run`);
    }
    entry.killed = death;
  }

  failNext(method: keyof ProcessManager, error: Error): void {
    this.#failures.set(method, [...(this.#failures.get(method) ?? []), error]);
  }

  killDaemon(): void {
    for (const entry of this.#entries.values()) entry.isOrphan = true;
  }

  async ensureReady(signal: AbortSignal): Promise<void> {
    this.#enter("ensureReady", "ensureReady", signal);
  }

  async list(signal: AbortSignal): Promise<readonly ManagedProcess[]> {
    this.#enter("list", "list", signal);
    return this.#listed().map((entry) => this.#toManaged(entry));
  }

  async start(spec: ProcessSpec, signal: AbortSignal): Promise<ManagedProcess> {
    this.#enter("start", `start ${spec.name}`, signal);
    const before = this.#entries.get(spec.name);
    if (before !== undefined && before.spec.digest === spec.digest && this.#runs(before)) {
      return this.#toManaged(before);
    }
    await this.#end(spec.name, signal);
    const entry: Entry = {
      spec,
      pid: (this.#lastPid += 1),
      startedAt: this.#clock.now(),
      life: this.#lives.get(spec.name)?.shift() ?? FOREVER,
      killed: null,
      isOrphan: false,
    };
    this.started.push(spec);
    this.#entries.set(spec.name, entry);
    return this.#toManaged(entry);
  }

  async remove(name: string, signal: AbortSignal): Promise<void> {
    this.#enter("remove", `remove ${name}`, signal);
    await this.#end(name, signal);
  }

  async reopenLogs(signal: AbortSignal): Promise<void> {
    this.#enter("reopenLogs", "reopenLogs", signal);
  }

  async kill(signal: AbortSignal): Promise<void> {
    this.#enter("kill", "kill", signal);
    await Promise.all([...this.#entries.keys()].map((name) => this.#end(name, signal)));
  }

  #enter(method: keyof ProcessManager, call: FakeCall, signal: AbortSignal): void {
    signal.throwIfAborted();
    this.calls.push(call);
    const error = this.#failures.get(method)?.shift();
    if (error !== undefined) throw error;
  }

  #runs(entry: Entry): boolean {
    return this.#deathOf(entry) === null;
  }

  #deathOf(entry: Entry): FakeDeath | null {
    if (entry.killed !== null) return entry.killed;
    const after = entry.life.diesAfterMs;
    if (after === null || this.#clock.now() - entry.startedAt < after) return null;
    return entry.life.death ?? { kind: "exit", code: 1 };
  }

  #listed(): readonly Entry[] {
    return [...this.#entries.values()].filter((entry) => !entry.isOrphan || this.#runs(entry));
  }

  #toManaged(entry: Entry): ManagedProcess {
    const death = this.#deathOf(entry);
    const { name, digest } = entry.spec;
    const common = { name, digest, startedAt: entry.startedAt };
    if (death === null) return { ...common, state: "online", pid: entry.pid, exitCode: null };
    const exitCode = death.kind === "exit" ? death.code : 0;
    return { ...common, state: "stopped", pid: null, exitCode };
  }

  async #end(name: string, signal: AbortSignal): Promise<void> {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    if (this.#runs(entry)) {
      const { stopTimeoutMs } = entry.spec;
      const wanted = entry.life.stopMs ?? 0;
      const took = Math.min(wanted, stopTimeoutMs);
      if (took > 0) await this.#clock.sleep(took, signal);
      entry.killed ??= { kind: "signal", signal: wanted > stopTimeoutMs ? "SIGKILL" : "SIGINT" };
    }
    if (this.#entries.get(name) === entry) this.#entries.delete(name);
  }
}
