/** A host, a process manager and a runner of which a test says what happens. */
import type { AgentLog } from "@holdfast/agent";
import type { InstanceLocks } from "../src/instances/host-locks.ts";
import type {
  FoundInstance,
  HostProcesses,
  PortListener,
} from "../src/instances/host-processes.ts";
import type { InstanceFiles } from "../src/instances/instance-files.ts";
import type { InstanceHealth, InstanceRunner } from "../src/instances/model.ts";
import type { ManagedProcess, ProcessManager, ProcessSpec } from "../src/process-manager/model.ts";

/** A process of the fake host. */
export interface FakeProcess {
  readonly pid: number;
  readonly name: string;
  readonly digest: string;
  readonly port: number;
  isAlive: boolean;
  isListening: boolean;
  memoryBytes: number;
  isManaged: boolean;
  /** SIGINT does not end it. */
  isStubborn: boolean;
}

/** What happens to a process that was just started. */
export type Starting = (process: FakeProcess, spec: ProcessSpec) => void;

/** Everything around the supervisor. */
export class FakeHost
  implements HostProcesses, InstanceRunner, InstanceFiles, Omit<ProcessManager, "kill">
{
  readonly processes: FakeProcess[] = [];
  readonly strangers = new Map<number, { pid: number | null; command: string }>();
  readonly healthOf = new Map<string, InstanceHealth>();
  readonly paused = new Set<string>();
  readonly starts: ProcessSpec[] = [];
  readonly ends: string[] = [];
  lists = 0;
  scans = 0;
  /** Thrown by each call of the process manager. */
  managerError: Error | null = null;
  /** Called for each start; without it, it listens and is healthy at once. */
  onStart: Starting = (process, spec) => this.serve(process, spec);
  /** The answer to a pause; without it, as busy as the runner says. */
  onPause: ((url: string) => Promise<boolean>) | null = null;
  #pids = 100;

  /** The process answers and is healthy. */
  serve(process: FakeProcess, { args }: Pick<ProcessSpec, "args">): void {
    process.isListening = true;
    this.setHealth(Number(args[args.indexOf("--port") + 1]), "healthy");
  }

  setHealth(
    port: number,
    state: InstanceHealth["state"],
    more: Partial<InstanceHealth> = {},
  ): void {
    this.healthOf.set(urlOf(port), { state, reason: null, isBusy: false, ...more });
  }

  /** A process that was there before. */
  add(given: Partial<FakeProcess> & Pick<FakeProcess, "name" | "digest" | "port">): FakeProcess {
    const process: FakeProcess = {
      pid: (this.#pids += 1),
      isAlive: true,
      isListening: true,
      memoryBytes: 0,
      isManaged: true,
      isStubborn: false,
      ...given,
    };
    this.processes.push(process);
    return process;
  }

  /** The living one of this name. */
  of(name: string): FakeProcess {
    const found = this.processes.findLast((one) => one.name === name && one.isAlive);
    if (found === undefined) throw new Error(`no process ${name} lives`);
    return found;
  }

  alive(name: string): number {
    return this.processes.filter((one) => one.name === name && one.isAlive).length;
  }

  die(process: FakeProcess): void {
    process.isAlive = false;
    process.isListening = false;
    this.healthOf.set(urlOf(process.port), { state: "stopped", reason: null, isBusy: false });
  }

  // The host.
  startTimeOf(pid: number): string | undefined {
    return this.#living(pid) === undefined ? undefined : `start-${pid}`;
  }
  isAlive(pid: number, startTime: string): boolean {
    return this.startTimeOf(pid) === startTime;
  }
  accountOf(): number {
    return 1_000;
  }
  startedPortOf(pid: number): number | undefined {
    return this.#living(pid)?.port;
  }
  isListening(url: string): Promise<boolean> {
    const port = Number(new URL(url).port);
    return Promise.resolve(this.strangers.has(port) || this.#listener(port) !== undefined);
  }
  listenerOf(port: number): Promise<PortListener | undefined> {
    const stranger = this.strangers.get(port);
    if (stranger !== undefined) {
      return Promise.resolve({ ...stranger, isOurs: false, instance: null, digest: null });
    }
    const own = this.#listener(port);
    if (own === undefined) return Promise.resolve(undefined);
    const { pid, name: instance, digest } = own;
    return Promise.resolve({ pid, command: "python", isOurs: true, instance, digest });
  }
  instances(): Promise<readonly FoundInstance[]> {
    this.scans += 1;
    return Promise.resolve(
      this.processes
        // Services of the manifest are under the same manager, and no instances.
        .filter(({ isAlive, name }) => isAlive && name.startsWith("comfyui-"))
        .map(({ pid, name: instance, digest }) => ({
          pid,
          startTime: `start-${pid}`,
          instance,
          digest,
        })),
    );
  }
  residentBytes(pids: readonly number[]): Promise<ReadonlyMap<number, number>> {
    const living = pids.flatMap((pid) => this.#living(pid) ?? []);
    return Promise.resolve(new Map(living.map((one) => [one.pid, one.memoryBytes])));
  }
  terminate(pid: number, _startTime: string, graceMs: number): Promise<boolean> {
    const process = this.#living(pid);
    if (process !== undefined) {
      this.ends.push(`${process.name} ${graceMs === 0 ? "SIGKILL" : "SIGINT"}`);
      this.die(process);
    }
    return Promise.resolve(true);
  }

  // The process manager.
  ensureReady(): Promise<void> {
    return this.#call(() => undefined);
  }
  list(): Promise<readonly ManagedProcess[]> {
    this.lists += 1;
    return this.#call(() =>
      this.processes
        .filter(({ isManaged, isAlive }) => isManaged && isAlive)
        .map((one) => managed(one)),
    );
  }
  start(spec: ProcessSpec): Promise<ManagedProcess> {
    return this.#call(() => {
      this.starts.push(spec);
      const port = Number(spec.args[spec.args.indexOf("--port") + 1]);
      const process = this.add({
        name: spec.name,
        digest: spec.digest,
        port,
        isListening: false,
      });
      this.healthOf.set(urlOf(port), { state: "starting", reason: null, isBusy: false });
      this.onStart(process, spec);
      return managed(process);
    });
  }
  remove(name: string): Promise<void> {
    return this.#call(() => {
      for (const one of this.processes) {
        if (one.name !== name || !one.isManaged || !one.isAlive) continue;
        this.ends.push(`${name} removed`);
        this.die(one);
      }
    });
  }
  reopenLogs(): Promise<void> {
    return Promise.resolve();
  }

  // The runner.
  health(url: string): InstanceHealth | undefined {
    return this.healthOf.get(url);
  }
  async pause(url: string, _withinMs: number, signal: AbortSignal): Promise<boolean> {
    this.paused.add(url);
    if (this.onPause !== null) return await this.onPause(url);
    while (this.healthOf.get(url)?.isBusy === true) {
      await new Promise((resolve) => {
        this.#onIdle.add(resolve as () => void);
        signal.addEventListener("abort", resolve as () => void);
      });
      signal.throwIfAborted();
    }
    return true;
  }
  readonly #onIdle = new Set<() => void>();
  /** The job of an instance has ended. */
  jobEnds(port: number): void {
    this.setHealth(port, "healthy");
    for (const wake of this.#onIdle) wake();
    this.#onIdle.clear();
  }
  resume(url: string): void {
    this.paused.delete(url);
  }

  // The disk.
  prepare(): Promise<void> {
    return Promise.resolve();
  }
  traits(): ReturnType<InstanceFiles["traits"]> {
    return Promise.resolve({ options: null, virtualEnv: null });
  }

  #living(pid: number): FakeProcess | undefined {
    return this.processes.find((one) => one.pid === pid && one.isAlive);
  }
  #listener(port: number): FakeProcess | undefined {
    return this.processes.find((one) => one.port === port && one.isAlive && one.isListening);
  }
  #call<T>(call: () => T): Promise<T> {
    if (this.managerError !== null) return Promise.reject(this.managerError);
    return Promise.resolve(call());
  }
}

function managed(one: FakeProcess): ManagedProcess {
  return {
    name: one.name,
    state: one.isAlive ? "online" : "stopped",
    pid: one.isAlive ? one.pid : null,
    digest: one.digest,
    startedAt: null,
    exitCode: null,
  };
}

/** Base URL of the instance on this port. */
export function urlOf(port: number): string {
  return `http://127.0.0.1:${port}`;
}

/** Locks that a test may refuse. */
export class FakeLocks implements InstanceLocks {
  refusal: string | null = null;
  /** Of single instances, by name. */
  readonly refusalOf = new Map<string, string>();
  readonly recorded: number[] = [];
  kept: readonly unknown[] = [];
  isLeft = false;

  acquire(name: string): Promise<string | null> {
    return Promise.resolve(this.refusalOf.get(name) ?? this.refusal);
  }
  recordProcess(_things: unknown, instance: { readonly pid: number }): Promise<void> {
    this.recorded.push(instance.pid);
    return Promise.resolve();
  }
  keepOnly(things: readonly unknown[]): Promise<void> {
    this.kept = things;
    return Promise.resolve();
  }
  leave(): Promise<void> {
    this.isLeft = true;
    return Promise.resolve();
  }
}

/** A log whose messages a test can read. */
export function rememberingLog(): AgentLog & { readonly lines: string[] } {
  const lines: string[] = [];
  const write = (fields: Readonly<Record<string, unknown>>, message: string): void => {
    lines.push(`${message} ${JSON.stringify(fields)}`);
  };
  return { lines, debug: write, info: write, warn: write, error: write };
}
