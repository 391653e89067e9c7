/**
 * Wakes waiting polls when work for them may be there. Waking is only a hint: a poll that wakes looks
 * into the database and goes back to waiting when others were quicker.
 */
export interface WorkSignal {
  /** Waits until woken, or until `timeoutMs` is over or the signal aborts; never rejects. */
  wait(waiter: Waiter, timeoutMs: number, signal: AbortSignal): Promise<void>;
  /**
   * Wakes as many waiters that can serve one of these requirements as there are jobs: those with idle
   * instances first, an instance a job.
   */
  wakeForWork(requirementIds: readonly number[], jobs: number): void;
  /** The same, in the order in which they wait: nobody is passed by for ever. */
  wakeInTurn(requirementIds: readonly number[], jobs: number): void;
  /** Wakes the poll of a machine: an order for it, or a newer poll. */
  wakeMachine(machineId: string): void;
  /** Wakes everybody: at shutdown. */
  wakeAll(): void;
  waiting(): number;
  /**
   * Grows with every wake. Whoever looks before waiting takes it first, and looks again instead of
   * waiting when it has grown: a wake between look and wait is not lost.
   */
  version(): number;
}

/** One waiting poll. */
export interface Waiter {
  readonly machineId: string;
  readonly wants: number;
  canServe(requirementId: number): boolean;
  /** Its idle instances that can serve one of these. */
  countIdle(requirementIds: readonly number[]): number;
}

/** Makes a {@link WorkSignal}. `setTimer` runs a function later and returns how to call it off. */
export function createWorkSignal(
  setTimer: (run: () => void, ms: number) => () => void,
): WorkSignal {
  // A Set keeps the order of arrival: who waits longest is woken first.
  let version = 0;
  const waiters = new Set<{ readonly waiter: Waiter; readonly wake: () => void }>();
  const wakeAny = (requirementIds: readonly number[], jobs: number): void => {
    let left = jobs;
    for (const { waiter, wake } of waiters) {
      if (left <= 0) return;
      if (waiter.wants > 0 && requirementIds.some((id) => waiter.canServe(id))) {
        left -= waiter.wants;
        wake();
      }
    }
  };
  return {
    wait(waiter, timeoutMs, signal) {
      if (signal.aborted) return Promise.resolve();
      return new Promise((resolve) => {
        const done = (): void => {
          waiters.delete(entry);
          cancelTimer();
          signal.removeEventListener("abort", done);
          resolve();
        };
        const entry = { waiter, wake: done };
        const cancelTimer = setTimer(done, timeoutMs);
        signal.addEventListener("abort", done, { once: true });
        waiters.add(entry);
      });
    },
    wakeForWork(requirementIds, jobs) {
      version += 1;
      let left = jobs;
      for (const { waiter, wake } of waiters) {
        if (left <= 0) return;
        const idle = waiter.countIdle(requirementIds);
        if (idle === 0) continue;
        left -= idle;
        wake();
      }
      wakeAny(requirementIds, left);
    },
    wakeInTurn(requirementIds, jobs) {
      version += 1;
      wakeAny(requirementIds, jobs);
    },
    wakeMachine(machineId) {
      version += 1;
      for (const { waiter, wake } of waiters) if (waiter.machineId === machineId) wake();
    },
    wakeAll() {
      version += 1;
      for (const { wake } of waiters) wake();
    },
    waiting: () => waiters.size,
    version: () => version,
  };
}
