/** Ends the process of a machine and all that it started: asked first, killed after a time. */
import type { Clock } from "@holdfast/runtime";
import { isSameProcess } from "@holdfast/runtime/host";
import { leftOf, type HostProcess, type HostProcesses } from "./host-processes.ts";
import type { MachineRecord } from "./machine-record.ts";

/** Between looks at what should end. */
const POLL_MS = 100;
/** From SIGTERM to SIGKILL for what a process left behind that has ended itself. */
const KIN_GRACE_MS = 5_000;
/** After SIGKILL; a process that is in the kernel for longer is looked at again later. */
const KILL_WAIT_MS = 5_000;

/** What ending needs. */
export interface EndDeps {
  readonly clock: Clock;
  readonly host: HostProcesses;
  /** The machine's own. */
  readonly folder: string;
  /** What is left of the time between SIGTERM and SIGKILL. */
  readonly graceMs: number;
  /** Called when SIGTERM was sent. */
  readonly onTold: () => Promise<void>;
  /** Leaves everything as it is; rejects with its reason. */
  readonly signal: AbortSignal;
}

/**
 * True when nothing of it lives any more; false when something outlived even SIGKILL for a while. The
 * main process alone gets SIGTERM: an agent ends what it started by itself, in its own order.
 */
export async function endMachine(record: MachineRecord, deps: EndDeps): Promise<boolean> {
  const { clock, host, folder, signal } = deps;
  const { main, mark } = record;
  const isMainAlive = async (): Promise<boolean> =>
    main !== null && (await isSameProcess(main.pid, main.startTime ?? undefined));
  const known = new Map<number, HostProcess>();
  const look = async (): Promise<void> => {
    const mainPid = (await isMainAlive()) && main !== null ? main.pid : null;
    for (const one of await host.kinOf({ mark, folder }, mainPid)) known.set(one.pid, one);
  };
  const living = async (): Promise<readonly HostProcess[]> => {
    const found: HostProcess[] = [];
    for (const one of known.values()) if (await host.isAlive(one)) found.push(one);
    return found;
  };
  // Before anything is told: what it started and let go is known only while it lives.
  await look();
  if (main !== null && !record.wasTold && (await isMainAlive()) && trySignal(main.pid)) {
    await deps.onTold();
  }
  if (await until(async () => !(await isMainAlive()), deps.graceMs, deps)) {
    await look();
    for (const one of await living()) await host.signal(one, "SIGTERM");
    await until(async () => (await living()).length === 0, KIN_GRACE_MS, deps);
  }
  const deadline = clock.elapsed() + KILL_WAIT_MS;
  for (;;) {
    await look();
    for (const one of await living()) await host.signal(one, "SIGKILL");
    // What was started while the others died is found by the last look.
    const isOver = (await living()).length === 0 && !(await isMainAlive());
    if (isOver && (await leftOf({ mark, folder }, host, clock, signal)).length === 0) return true;
    if (clock.elapsed() >= deadline) return false;
    await clock.sleep(POLL_MS, signal);
  }
}

async function until(
  holds: () => Promise<boolean>,
  limitMs: number,
  { clock, signal }: EndDeps,
): Promise<boolean> {
  const deadline = clock.elapsed() + limitMs;
  while (!(await holds())) {
    const leftMs = deadline - clock.elapsed();
    if (leftMs <= 0) return false;
    await clock.sleep(Math.min(POLL_MS, leftMs), signal);
  }
  return true;
}

/** False when it ended in this instant. */
function trySignal(pid: number): boolean {
  try {
    process.kill(pid, "SIGTERM");
    return true;
  } catch {
    return false;
  }
}
