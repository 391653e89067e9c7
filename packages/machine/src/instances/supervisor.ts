/**
 * Keeps the ComfyUI instances of a machine as the plan says. One loop looks at all of them about each
 * second and starts no program for it: pid and start time, listening ports, the runner's word. What to
 * do is decided by `supervision.ts` and `rollout.ts`, what is done by `instance-operations.ts`.
 *
 * The agent's own end: after `leave` or a SIGKILL the instances live on under the process manager, and
 * the next agent adopts them without a restart, by the digest of what they were started from. The
 * process manager's end: what lives on and is not in its list any more is served as before, and started
 * anew when it is idle, one instance after the other: a manager cannot be given a process of another's.
 * (PM2's is: `process-manager` finds what its daemon forgot, and lists it on. Then nothing is restarted.)
 */
import { instanceAt } from "./instance-address.ts";
import { nodeInstanceFiles } from "./instance-files.ts";
import { InstanceCare } from "./instance-care.ts";
import { InstanceOperations } from "./instance-operations.ts";
import type { InstancePlan, Release } from "./model.ts";
import { toProcessSpec } from "./process-spec.ts";
import type { SupervisedInstance } from "./supervised-instance.ts";
import {
  DEFAULT_SUPERVISOR_POLICY,
  type SupervisorOptions,
  type SupervisorPolicy,
} from "./supervisor-options.ts";
import { instanceStatus, type InstanceStatus } from "./supervisor-status.ts";

/** See the head of this file. */
export class Supervisor {
  readonly name = "supervisor";
  readonly #options: SupervisorOptions;
  readonly #policy: SupervisorPolicy;
  readonly #instances = new Map<string, SupervisedInstance>();
  readonly #operations: InstanceOperations;
  readonly #care: InstanceCare;
  /** Ends the loop. */
  readonly #stopping = new AbortController();
  /** Drops what is being done. */
  readonly #dropping = new AbortController();
  readonly #told = new Map<string, string>();
  #desiredCalls = 0;
  #isComplete = true;
  #nap = new AbortController();
  #loop: Promise<void> | undefined;
  #ending: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    const limits = { ...DEFAULT_SUPERVISOR_POLICY, ...options.policy };
    this.#policy = limits;
    const wake = (): void => this.#nap.abort();
    const signal = this.#dropping.signal;
    this.#operations = new InstanceOperations({
      ...options,
      files: options.files ?? nodeInstanceFiles,
      limits,
      signal,
      wake,
      isPlanned: (name) => !this.#isComplete || this.#instances.has(name),
    });
    const instances = this.#instances;
    const operations = this.#operations;
    this.#care = new InstanceCare({ ...options, limits, operations, instances, wake, signal });
  }

  /** Begins to supervise. What runs is adopted; nothing is started before that was looked for. */
  start(): Promise<void> {
    this.#loop ??= this.#run();
    return Promise.resolve();
  }

  /**
   * What should run. Instances that are new are started, those that are gone drained and ended, those
   * whose release or settings changed started anew one after the other. Without a release nothing is
   * started, and what runs goes on. Throws in words when the release cannot be read; nothing has
   * changed then. With a plan that is not complete nothing is ended of which nothing is known here: it
   * may be of a card that could not be asked for.
   */
  async setDesired(
    plans: readonly InstancePlan[],
    release: Release | null,
    isComplete = true,
  ): Promise<void> {
    const call = (this.#desiredCalls += 1);
    const { places, account } = this.#options;
    const files = this.#options.files ?? nodeInstanceFiles;
    const traits = release === null ? null : await files.traits(release);
    if (call !== this.#desiredCalls) return; // A later word has come meanwhile.
    const wanted = plans.map((plan) => ({
      plan,
      spec:
        // One whose card was ill when it was planned is started by a later plan, which knows the card.
        release === null || traits === null || plan.cardFault !== undefined
          ? null
          : toProcessSpec(plan, release, places, traits, account),
    }));
    this.#isComplete = isComplete;
    this.#care.desire(wanted, release, isComplete);
    this.#nap.abort();
  }

  /** After a failure of a release: the instance that failed is left as it is, and the next has its turn. */
  passOver(): void {
    this.#care.passOver();
    this.#nap.abort();
  }

  /**
   * Starts an instance (by name or URL) anew: drains it, at most for the plan's time, ends and starts it,
   * and resolves when it is healthy. Also ends a crash loop. Throws in words when it does not come up.
   * The signal ends the waiting only.
   */
  async restart(nameOrUrl: string, reason: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const one = this.#find(nameOrUrl);
    one.asked = reason;
    const done = new AbortController();
    try {
      await new Promise<void>((resolve, reject) => {
        const waiter = { isStarted: false, resolve, reject };
        one.waiters.add(waiter);
        const onAbort = (): void => {
          one.waiters.delete(waiter);
          reject(signal.reason as Error);
        };
        signal.addEventListener("abort", onAbort, { once: true, signal: done.signal });
        this.#nap.abort();
      });
    } finally {
      done.abort();
    }
  }

  /** An instance, by its name. */
  status(name: string): InstanceStatus | undefined {
    const one = this.#instances.get(name);
    return one === undefined ? undefined : instanceStatus(one, this.#options.clock);
  }

  /** All instances, in the order of the plan. */
  statuses(): readonly InstanceStatus[] {
    return [...this.#instances.values()].map((one) => instanceStatus(one, this.#options.clock));
  }

  /** Why nothing can be started at the moment, on the part of the process manager; null when it can. */
  managerProblem(): string | null {
    return this.#care.manager.problem;
  }

  /**
   * Drains all instances at once, each for its plan's time, then ends them, at once too, and gives the
   * locks back. Throws, after all was tried, when some could not be ended.
   */
  stop(): Promise<void> {
    this.#ending ??= this.#stop();
    return this.#ending;
  }

  /** Stops supervising and leaves the instances running, for the next agent to adopt. */
  leave(): Promise<void> {
    this.#ending ??= this.#leave();
    return this.#ending;
  }

  #find(nameOrUrl: string): SupervisedInstance {
    const all = [...this.#instances.values()].map((instance) => ({
      instance,
      name: instance.name,
      plannedUrl: instance.plan.url,
      processUrl: instance.process?.place.url ?? null,
    }));
    const one = instanceAt(all, nameOrUrl)?.instance;
    if (one === undefined) {
      const names = [...this.#instances.keys()].join(", ") || "none";
      throw new Error(`expected one of the instances (${names}), found ${nameOrUrl}`);
    }
    if (this.#loop === undefined || this.#stopping.signal.aborted) {
      throw new Error("instances are not supervised now: start the agent first");
    }
    if (one.wanted === "end") throw new Error(`${one.name} is no longer in the plan`);
    if (one.cardFault !== null) {
      throw new Error(`${one.name} cannot be started: ${one.cardFault}`);
    }
    if (one.wanted === "keep") {
      throw new Error(`there is no release to start ${one.name} from: install one first`);
    }
    return one;
  }

  async #stop(): Promise<void> {
    const reason = "the machine is being stopped";
    await this.#endLoop(reason, true);
    // Those that another agent holds are not ours to end.
    const all = [...this.#instances.values()].filter((one) => one.lockRefusal === null);
    for (const one of all) one.lastAction = { kind: "end", reason };
    this.#publish();
    await Promise.all(all.map((one) => this.#drain(one)));
    const failures: unknown[] = [];
    const end = async (one: SupervisedInstance): Promise<void> => {
      await this.#operations.end(one, reason).catch((err: unknown) => {
        this.#options.log.error({ instance: one.name, err }, "instance could not be ended");
        failures.push(err);
      });
      this.#publish();
    };
    // At once: each takes seconds to go, and a host that shuts down waits for all of them.
    await Promise.all(all.toReversed().map(end));
    await this.#options.locks.leave();
    if (failures.length > 0)
      throw new AggregateError(failures, "some instances could not be ended");
  }

  async #drain({ process, plan }: SupervisedInstance): Promise<void> {
    if (process === null || (!process.isHealthy && !process.isBusy)) return;
    const { runner, log } = this.#options;
    const within = new AbortController().signal; // The runner keeps the time.
    await runner.pause(process.place.url, plan.drainMs, within).catch((err: unknown) => {
      log.warn({ instance: plan.name, err }, "instance could not be drained");
    });
  }

  async #leave(): Promise<void> {
    await this.#endLoop("the agent is being stopped", false);
    await this.#options.locks.leave();
  }

  /** Afterwards nothing is on its way any more. */
  async #endLoop(reason: string, isDropped: boolean): Promise<void> {
    this.#stopping.abort();
    if (isDropped) this.#dropping.abort();
    this.#nap.abort();
    for (const one of this.#instances.values()) {
      one.cancelDrain();
      one.settle(() => true, new Error(reason));
    }
    await this.#loop;
    if (!isDropped) {
      // A start on its way is brought to its end, so that its process is known and its card stays locked.
      await this.#care.operationsEnded();
      this.#dropping.abort();
    }
    await this.#care.idle();
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      // Before the look: what changes during it is not slept over.
      const nap = (this.#nap = new AbortController());
      try {
        this.#care.look();
        this.#publish();
      } catch (err) {
        log.error({ err }, "a look at the instances failed");
      }
      if (signal.aborted) return;
      await clock.sleep(this.#policy.tickMs, nap.signal).catch(() => undefined); // Woken early.
    }
  }

  #publish(): void {
    const { onChange, log } = this.#options;
    const all = this.statuses();
    for (const { name, runtime, check, blocked, draining, digest, isManaged } of all) {
      const { state, detail } = check;
      const told = { runtime, state, detail, blocked, draining, digest, isManaged };
      const text = JSON.stringify(told);
      if (this.#told.get(name) === text) continue;
      this.#told.set(name, text);
      this.#tell(name, onChange, log);
    }
    const names = new Set(all.map(({ name }) => name));
    for (const name of this.#told.keys()) {
      if (names.has(name)) continue;
      this.#told.delete(name);
      this.#tell(name, onChange, log);
    }
  }

  #tell(
    name: string,
    onChange: SupervisorOptions["onChange"],
    log: SupervisorOptions["log"],
  ): void {
    try {
      onChange?.(name);
    } catch (err) {
      log.error({ instance: name, err }, "a listener to the instances failed");
    }
  }
}
