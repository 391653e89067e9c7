/** A process manager of nothing but child processes, whose memory a test can wipe. */
import { spawn, type ChildProcess } from "node:child_process";
import { openSync, closeSync } from "node:fs";
import { once } from "node:events";
import type { ManagedProcess, ProcessManager, ProcessSpec } from "../src/process-manager/model.ts";

interface Known {
  readonly child: ChildProcess;
  readonly spec: ProcessSpec;
}

/** See the head of this file. */
export class ChildManager implements ProcessManager {
  readonly #known = new Map<string, Known>();
  readonly #all: ChildProcess[] = [];
  readonly removed: string[] = [];
  /** The machine folder. */
  readonly #machine: string;

  constructor(machine: string) {
    this.#machine = machine;
  }

  ensureReady(): Promise<void> {
    return Promise.resolve();
  }
  list(): Promise<readonly ManagedProcess[]> {
    return Promise.resolve([...this.#known.values()].map(toManaged));
  }
  async start(spec: ProcessSpec): Promise<ManagedProcess> {
    const out = openSync(spec.outFile, "a");
    const error = openSync(spec.errorFile, "a");
    const child = spawn(spec.command, [...spec.args], {
      cwd: spec.cwd,
      env: { ...spec.env, HOLDFAST_SPEC: spec.digest, HOLDFAST_MACHINE: this.#machine },
      stdio: ["ignore", out, error],
      detached: true,
    });
    closeSync(out);
    closeSync(error);
    await once(child, "spawn");
    this.#all.push(child);
    this.#known.set(spec.name, { child, spec });
    return toManaged({ child, spec });
  }
  async remove(name: string): Promise<void> {
    const known = this.#known.get(name);
    this.#known.delete(name);
    if (known === undefined || hasEnded(known.child)) return;
    this.removed.push(name);
    await end(known.child, "SIGINT");
  }
  reopenLogs(): Promise<void> {
    return Promise.resolve();
  }
  /** What it started lives on, and it knows nothing of it: as after a SIGKILL of PM2's daemon. */
  forget(): void {
    this.#known.clear();
  }
  async kill(): Promise<void> {
    for (const child of this.#all) if (!hasEnded(child)) await end(child, "SIGKILL");
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const ended = once(child, "exit");
  child.kill(signal);
  await ended;
}

function toManaged({ child, spec }: Known): ManagedProcess {
  const isOver = hasEnded(child);
  return {
    name: spec.name,
    state: isOver ? "stopped" : "online",
    pid: isOver ? null : (child.pid ?? null),
    digest: spec.digest,
    startedAt: null,
    exitCode: child.exitCode,
  };
}
