/**
 * Ends processes of services that no manifest wants any more: they were taken out of it while no agent
 * ran, or could not be ended when they were. Tried until nothing of the kind is left.
 */
import type { AgentLog } from "@holdfast/agent";
import { backoffMs, type Clock, type Random } from "@holdfast/runtime";
import type { ProcessManager } from "../process-manager/model.ts";

/** What is needed for it. */
export interface UnwantedProcessesOptions {
  readonly manager: Pick<ProcessManager, "remove">;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  /**
   * Names of the living processes that were started for this machine's services, whatever manifest
   * that was by. Looked for without the manager: a machine that has none is not given one for this.
   */
  readonly livingNames: () => Promise<readonly string[]>;
  readonly isWanted: (name: string) => boolean;
}

const RETRY = { initialMs: 5_000, maxMs: 300_000, factor: 2, jitter: 0.2 };

/** See the head of this file. */
export class UnwantedProcesses {
  readonly #options: UnwantedProcessesOptions;
  #stopping = new AbortController();
  #nap = new AbortController();
  #isDue = false;
  #work: Promise<void> | undefined;

  constructor(options: UnwantedProcessesOptions) {
    this.#options = options;
  }

  /** Looks for them anew, behind whatever else goes on. */
  begin(): void {
    this.#isDue = true;
    this.#nap.abort();
    if (this.#work !== undefined) return;
    this.#stopping = new AbortController();
    this.#work = this.#run(this.#stopping.signal).finally(() => {
      this.#work = undefined;
    });
  }

  /** Nothing is ended any more; resolves when nothing is on its way. */
  async end(): Promise<void> {
    this.#stopping.abort(new Error("stopping"));
    this.#nap.abort();
    await this.#work;
  }

  /** Never rejects. */
  async #run(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#options;
    for (let failures = 0; this.#isDue && !signal.aborted;) {
      this.#isDue = false;
      this.#nap = new AbortController();
      try {
        await this.#endAll(signal);
        failures = 0;
      } catch (err) {
        if (signal.aborted) return;
        failures += 1;
        this.#isDue = true;
        log.warn({ err }, "services that are not wanted any more could not be ended");
        const pauseMs = backoffMs(RETRY, failures, random);
        await clock.sleep(pauseMs, this.#nap.signal).catch(() => undefined); // Woken early.
      }
    }
  }

  async #endAll(signal: AbortSignal): Promise<void> {
    const { livingNames, isWanted, manager, log } = this.#options;
    const failures: unknown[] = [];
    for (const name of new Set(await livingNames())) {
      // Asked for each: another manifest may have come while the one before was ended.
      if (signal.aborted || isWanted(name)) continue;
      log.info({ service: name }, "service of an earlier manifest is ended");
      // Without a limit of ours: each process bears the time that its end may take.
      await manager.remove(name, signal).catch((err: unknown) => failures.push(err));
    }
    if (failures.length > 0) {
      const words = failures.map((one) => (one instanceof Error ? one.message : String(one)));
      throw new AggregateError(failures, words.join("; "));
    }
  }
}
