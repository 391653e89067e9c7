import type { AgentLog } from "@holdfast/agent";
import type { Clock } from "@holdfast/runtime";
import type { ManagedProcess, ProcessManager } from "../process-manager/model.ts";
import { callWithin } from "./call-limit.ts";
import type { SupervisorPolicy } from "./supervisor-options.ts";

/** Settings of {@link ManagerWatch}. */
export interface ManagerWatchOptions {
  readonly manager: ProcessManager;
  readonly clock: Clock;
  readonly log: AgentLog;
  readonly policy: SupervisorPolicy;
  readonly signal: AbortSignal;
  /** The processes, as of a call that began at `askedAt` (monotonic). */
  readonly onList: (list: readonly ManagedProcess[], askedAt: number) => void;
}

/**
 * Asks the process manager for its processes: on a change, else once in a while (each call starts a
 * program). Makes it ready first, and again after every failure: a manager that died forgot them all.
 */
export class ManagerWatch {
  readonly #options: ManagerWatchOptions;
  #isReady = false;
  #asking: Promise<void> | undefined;
  #tryAt = -Infinity;
  /** Null while nothing is known to be wrong. */
  problem: string | null = null;
  /** When the last call that was answered began. */
  answeredAt = -Infinity;

  constructor(options: ManagerWatchOptions) {
    this.#options = options;
  }

  /** Asks when a new answer is wanted, or when it is time. */
  refresh(now: number, isWanted: boolean): void {
    if (this.#asking !== undefined || now < this.#tryAt) return;
    const { listEveryMs } = this.#options.policy;
    const isDue = this.problem !== null || now - this.answeredAt >= listEveryMs;
    // In the very instant of an answer another one would not be newer.
    if (!isDue && !(isWanted && now > this.answeredAt)) return;
    this.#asking = this.#ask().finally(() => {
      this.#asking = undefined;
    });
  }

  /** Resolves when no question is on its way. */
  async idle(): Promise<void> {
    await this.#asking;
  }

  async #ask(): Promise<void> {
    const { manager, clock, log, policy, signal, onList } = this.#options;
    const limit = { clock, ms: policy.callMs, signal };
    try {
      if (!this.#isReady) {
        // Installing it may have to fetch it: it has a time limit of its own, and this is no hurry.
        await manager.ensureReady(signal);
        this.#isReady = true;
      }
      const askedAt = clock.elapsed();
      const list = await callWithin("the process manager", limit, (limited) =>
        manager.list(limited),
      );
      if (signal.aborted) return;
      if (this.problem !== null) log.info({}, "the process manager answers again");
      this.problem = null;
      this.answeredAt = askedAt;
      onList(list, askedAt);
    } catch (err) {
      if (signal.aborted) return;
      const problem = `the process manager is not ready: ${(err as Error).message}`;
      if (problem !== this.problem) log.error({ err }, "the process manager does not answer");
      this.problem = problem;
      this.#isReady = false;
      this.#tryAt = clock.elapsed() + policy.managerRetryMs;
    }
  }
}
