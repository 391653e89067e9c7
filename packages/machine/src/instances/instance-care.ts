/** One look at all instances: what is seen, whose turn it is, what is done. The loop is `supervisor.ts`'s. */
import { backoffMs } from "@holdfast/runtime";
import type { ManagedProcess, ProcessSpec } from "../process-manager/model.ts";
import { NO_FAILURES } from "./failure-record.ts";
import type { LockThing } from "./host-locks.ts";
import type { InstanceOperations } from "./instance-operations.ts";
import { ManagerWatch } from "./manager-watch.ts";
import type { InstancePlan, Release } from "./model.ts";
import { NEW_ROLLOUT, nextRollout, type RollFacts, type Rollout } from "./rollout.ts";
import {
  isSamePlace,
  newProcess,
  startedPlace,
  SupervisedInstance,
  type ExitRecord,
} from "./supervised-instance.ts";
import { decideNext, restartCause, type Action, type SupervisionFacts } from "./supervision.ts";
import type { SupervisorOptions, SupervisorPolicy } from "./supervisor-options.ts";
import { endUnplanned } from "./unplanned.ts";

/** Settings of {@link InstanceCare}. */
export interface InstanceCareOptions extends SupervisorOptions {
  readonly limits: SupervisorPolicy;
  readonly operations: InstanceOperations;
  readonly instances: Map<string, SupervisedInstance>;
  readonly wake: () => void;
  /** Aborted when everything is to be dropped at once. */
  readonly signal: AbortSignal;
}

/** See the head of this file. */
export class InstanceCare {
  readonly #options: InstanceCareOptions;
  readonly #instances: Map<string, SupervisedInstance>;
  readonly manager: ManagerWatch;
  #rollout: Rollout = NEW_ROLLOUT;
  #release: Release | null = null;
  /** How often it was said what should run. */
  #desired = 0;
  /** Instances of an earlier plan are to be ended: until all of them are, or a plan is not complete. */
  #isUnplannedDue = false;
  #unplannedFailures = 0;
  #unplannedTryAt = -Infinity;
  #memoryAt = -Infinity;
  /** What is on its way and belongs to no instance. */
  readonly #errands = new Map<string, Promise<void>>();

  constructor(options: InstanceCareOptions) {
    this.#options = options;
    this.#instances = options.instances;
    const { manager, clock, log, limits, signal } = options;
    this.manager = new ManagerWatch({
      manager,
      clock,
      log,
      policy: limits,
      signal,
      onList: (list, askedAt) => this.#onList(list, askedAt),
    });
  }

  /**
   * What should run from now on; a plan's spec is null without a release. One that is not complete says
   * nothing of what else runs, and nothing of that is ended.
   */
  desire(
    wanted: readonly { readonly plan: InstancePlan; readonly spec: ProcessSpec | null }[],
    release: Release | null,
    isComplete = true,
  ): void {
    this.#release = release;
    this.#desired += 1;
    this.#isUnplannedDue = isComplete;
    this.#unplannedFailures = 0;
    this.#unplannedTryAt = -Infinity;
    const names = new Set(wanted.map(({ plan }) => plan.name));
    for (const one of this.#instances.values()) {
      if (names.has(one.name)) continue;
      one.wanted = "end";
      one.asked = null;
      one.settle(() => true, new Error(`${one.name} is no longer in the plan`));
    }
    for (const { plan, spec } of wanted) {
      const one = this.#instances.get(plan.name) ?? new SupervisedInstance(plan);
      this.#instances.set(plan.name, one);
      if (one.spec?.digest !== spec?.digest) {
        // Something else deserves a fresh start, of the instance and of the turns.
        one.failures = NO_FAILURES;
        this.#rollout = NEW_ROLLOUT;
      }
      if (!isSamePlace(one.plan, plan)) {
        one.lockRefusal = "its new card or port is not locked yet";
        one.lockTryAt = -Infinity;
        one.leftovers = null;
      }
      one.plan = plan;
      one.spec = spec;
      one.wanted = spec === null ? "keep" : "run";
    }
  }

  /** What failed in a rollout is not waited for: whoever has not had a turn has one now. */
  passOver(): void {
    this.#rollout = NEW_ROLLOUT;
  }

  /** Resolves when nothing is on its way. */
  async idle(): Promise<void> {
    await this.operationsEnded();
    await Promise.all([this.manager.idle(), ...this.#errands.values()]);
  }

  /** Resolves when what is being done to the instances has come to its end. */
  async operationsEnded(): Promise<void> {
    for (const one of this.#instances.values()) await one.operation?.ended;
  }

  /** One look. Waits for nothing. */
  look(): void {
    const now = this.#options.clock.elapsed();
    const all = [...this.#instances.values()];
    for (const one of all) this.#observe(one, now);
    this.manager.refresh(
      now,
      all.some((one) => one.operation === null && one.process === null && !one.isListed()),
    );
    this.#measure(now);
    this.#endUnplanned(now);
    this.#roll(now);
    for (const one of all) {
      if (one.operation === null) this.#act(one, now);
    }
  }

  #observe(one: SupervisedInstance, now: number): void {
    const { host, runner, clock, limits, random, log } = this.#options;
    const { process } = one;
    const { gpu } = one.plan;
    // What was seen when it was planned keeps it from a start, and ends nothing that runs.
    const ofPlan = one.process === null ? (one.plan.cardFault ?? null) : null;
    one.cardFault = gpu === null ? null : (this.#options.cardFault?.(gpu) ?? ofPlan);
    // What is being done to it tells by itself what came of it.
    if (process !== null && one.operation === null) {
      if (!host.isAlive(process.pid, process.startTime)) {
        const reason = "its process ended by itself, or was killed from outside";
        log.warn({ instance: one.name, pid: process.pid }, "instance died");
        const end = { endedAt: clock.now(), wasAsked: false, reason, exitCode: null };
        one.ended(end, now, limits, random);
      }
    }
    const place = one.process?.place ?? one.place();
    const isListening = one.process !== null && one.isListening;
    one.observe({ now, isListening, health: runner.health(place.url) }, limits);
    this.#probe(one, now);
  }

  /** Each second until it serves; afterwards the runner is the first to notice anyway. */
  #probe(one: SupervisedInstance, now: number): void {
    const { process } = one;
    const { host, limits, wake } = this.#options;
    if (process === null || now < one.probeAt) return;
    one.probeAt = now + (process.isHealthy ? limits.probeEveryMs : limits.tickMs);
    this.#errand(`probe ${one.name}`, async () => {
      const isListening = await host.isListening(process.place.url);
      // It may have been another process that took the connection.
      if (one.process?.pid !== process.pid || one.isListening === isListening) return;
      one.isListening = isListening;
      wake();
    });
  }

  #onList(list: readonly ManagedProcess[], askedAt: number): void {
    const byName = new Map(list.map((managed) => [managed.name, managed]));
    for (const one of this.#instances.values()) {
      // What is done meanwhile, or was, is newer than this list.
      const label = one.operation?.label;
      const isChanging = label !== undefined && label !== "lock" && label !== "look";
      if (isChanging || one.changedAt >= askedAt) continue;
      one.listedAt = askedAt;
      this.#compare(one, byName.get(one.name));
    }
    this.#options.wake();
  }

  #compare(one: SupervisedInstance, managed: ManagedProcess | undefined): void {
    const { host, clock } = this.#options;
    const pid = managed?.pid ?? null;
    const { process } = one;
    if (process !== null) {
      const isManaged = pid === process.pid;
      one.process = {
        ...process,
        isManaged,
        digest: isManaged ? (managed?.digest ?? process.digest) : process.digest,
      };
      return;
    }
    const startTime = pid === null ? undefined : host.startTimeOf(pid);
    if (managed === undefined || pid === null || startTime === undefined) {
      const last = one.exits.at(-1);
      if (managed !== undefined && last?.exitCode === null) {
        one.exits = [...one.exits.slice(0, -1), { ...last, exitCode: managed.exitCode }];
        if (!last.wasAsked) this.#explain(one, { ...last, exitCode: managed.exitCode });
      }
      return;
    }
    one.found(
      newProcess({
        pid,
        startTime,
        digest: managed.digest,
        isManaged: true,
        isNew: true,
        // Its time for a start is counted from here: when it was started, nobody may have watched.
        startedAt: clock.elapsed(),
        adoptedAt: clock.elapsed(),
        startedAtEpoch: managed.startedAt,
        place: startedPlace(one.plan, host.startedPortOf(pid)),
      }),
    );
  }

  /** Adds to the end of a process why it came; the next start would wipe the traces out. */
  #explain(one: SupervisedInstance, exit: ExitRecord): void {
    const { exits, log, wake } = this.#options;
    if (exits === undefined) return;
    const { pid, exitCode } = exit;
    this.#errand(`exit of ${one.name}`, async () => {
      const { kind, words } = await exits.explain({ name: one.name, pid, exitCode });
      log.warn({ instance: one.name, pid, code: kind, reason: words }, "instance's end explained");
      if (kind === "unknown") return;
      one.explained(exit, words);
      wake();
    });
  }

  #measure(now: number): void {
    const { host, limits } = this.#options;
    const all = [...this.#instances.values()];
    const isLimited = all.some(
      ({ plan }) => plan.memoryLimitBytes !== null || plan.recycleAboveBytes !== null,
    );
    const everyMs = isLimited ? limits.memoryEveryMs : limits.memoryShownEveryMs;
    if (now - this.#memoryAt < everyMs) return;
    const pids = all.flatMap(({ process }) => process?.pid ?? []);
    if (pids.length === 0) return;
    this.#memoryAt = now;
    this.#errand("memory", async () => {
      const sizes = await host.residentBytes(pids);
      for (const one of all) {
        const memoryBytes = one.process === null ? undefined : sizes.get(one.process.pid);
        if (one.process !== null && memoryBytes !== undefined) {
          one.process = { ...one.process, memoryBytes };
        }
      }
    });
  }

  /** Instances of an earlier plan that run on, of which nobody here knows anything. */
  #endUnplanned(now: number): void {
    const all = [...this.#instances.values()];
    const isOurs = all.every((one) => one.lockRefusal === null);
    if (!this.#isUnplannedDue || !isOurs) return;
    if (this.manager.answeredAt === -Infinity || now < this.#unplannedTryAt) return;
    this.#errand("unplanned", async () => {
      const desired = this.#desired;
      // A plan that comes meanwhile may have them, or not be complete.
      const isLeft = (name: string): boolean => !this.#isUnplannedDue || this.#instances.has(name);
      const { limits, random, clock } = this.#options;
      try {
        await endUnplanned(this.#options, isLeft);
        if (desired === this.#desired) this.#isUnplannedDue = false;
      } catch (err) {
        this.#unplannedFailures += 1;
        const pauseMs = backoffMs(limits.backoff, this.#unplannedFailures, random);
        this.#unplannedTryAt = clock.elapsed() + pauseMs;
        throw err;
      }
    });
  }

  #errand(name: string, run: () => Promise<void>): void {
    if (this.#errands.has(name)) return;
    const running = run()
      .catch((err: unknown) => {
        this.#options.log.warn({ err, errand: name }, "supervision errand failed");
      })
      .finally(() => {
        this.#errands.delete(name);
      });
    this.#errands.set(name, running);
  }

  #roll(now: number): void {
    const before = this.#rollout;
    const facts = [...this.#instances.values()]
      .filter(({ wanted }) => wanted === "run")
      .map((one) => this.#rollFacts(one, now));
    this.#rollout = nextRollout(before, facts, now);
    const { failure } = this.#rollout;
    if (failure === null || failure.name === before.failure?.name) return;
    const { log, onReleaseFailed } = this.#options;
    const release = this.#release?.id ?? "none";
    log.error(
      { instance: failure.name, release, reason: failure.reason },
      "release does not serve",
    );
    onReleaseFailed?.({ release, instance: failure.name, reason: failure.reason });
  }

  #rollFacts(one: SupervisedInstance, now: number): RollFacts {
    const { process } = one;
    const facts = {
      asked: null,
      wantedDigest: one.spec?.digest ?? null,
      plan: one.plan,
      now,
      drain: one.drain,
    };
    const healthySince = process?.healthySince ?? null;
    const isSettled = healthySince !== null && now - healthySince >= this.#options.limits.settleMs;
    const cause = process === null ? null : restartCause(process, facts, this.#options.limits);
    return {
      name: one.name,
      needs: cause === null ? null : needOf(cause.kind),
      isHealthy: isSettled,
      isBusy: process?.isBusy ?? false,
      isOnWanted: process !== null && process.digest === facts.wantedDigest,
      startedAt: process?.startedAt ?? null,
      startTimeoutMs: one.plan.startTimeoutMs,
      isLooping: one.failures.isLooping,
      isHindered: one.isHindered,
      waitsForOther: process === null && one.leftovers?.portHolder?.isPlanned === true,
      trouble:
        process?.healthReason ?? one.exits.findLast(({ wasAsked }) => !wasAsked)?.reason ?? null,
    };
  }

  #act(one: SupervisedInstance, now: number): void {
    if (one.lockRefusal !== null && now >= one.lockTryAt) {
      this.#operate(one, "lock", () => this.#options.operations.lock(one));
      return;
    }
    // Before it was asked for, a process manager may know of a process that is none of ours to start.
    const isKnown = one.isListed() || this.manager.problem !== null;
    if (one.process === null && !isKnown) return;
    if (one.leftovers !== null && now >= one.leftoversUntil) one.leftovers = null;
    const action =
      one.process === null && !one.hasLooked && one.lockRefusal === null
        ? ({ kind: "look", reason: "what may live on from before is looked for" } as const)
        : decideNext(this.#facts(one, now), this.#options.limits);
    // A look goes before most decisions: what was known before it stays to be read meanwhile.
    if (action.kind !== "look") one.lastAction = action;
    this.#perform(one, action);
  }

  #facts(one: SupervisedInstance, now: number): SupervisionFacts {
    const { gpu } = one.plan;
    return {
      now,
      wanted: one.wanted,
      wantedDigest: one.spec?.digest ?? null,
      plan: one.plan,
      lockRefusal: one.lockRefusal,
      managerProblem: this.manager.problem,
      process: one.process,
      leftovers: one.process === null ? one.leftovers : null,
      failures: one.failures,
      asked: one.asked,
      drain: one.drain,
      cardFault: one.cardFault,
      cardRunsOn: gpu !== null && this.#options.cardRunsOn?.(gpu) === true,
      hasTurn: this.#rollout.turn?.name === one.name,
    };
  }

  #perform(one: SupervisedInstance, action: Action): void {
    const { operations } = this.#options;
    const { reason } = action;
    switch (action.kind) {
      case "nothing":
      case "wait":
      case "give_up":
        return;
      case "blocked":
        this.#refuse(one, reason);
        return;
      case "look":
        this.#operate(one, "look", () => operations.look(one));
        return;
      case "adopt":
        this.#operate(one, "adopt", () => operations.adopt(one, reason));
        return;
      case "end_orphan":
        this.#operate(one, "orphan", () => operations.endOrphans(one, action.pids, reason));
        return;
      case "drain_then_restart":
        operations.beginDrain(one, action.cause, reason);
        return;
      case "drain_then_end":
        operations.beginDrain(one, action.cause, reason);
        return;
      case "resume":
        operations.resume(one);
        return;
      case "kill":
        this.#operate(one, "kill", () => operations.kill(one, action.cause, reason));
        return;
      case "end":
        this.#operate(one, "end", async () => {
          await operations.end(one, reason);
          this.#forget(one);
        });
        return;
      case "start":
      case "restart": {
        const spec = this.#specFor(one);
        if (spec === null) return;
        this.#operate(one, action.kind, () => operations[action.kind](one, spec, reason));
      }
    }
  }

  /** Whoever waits for a new start is told what is in its way. */
  #refuse(one: SupervisedInstance, reason: string): void {
    if (one.lockTriedAt === -Infinity || one.asked === null) return;
    one.asked = null;
    one.settle(() => true, new Error(`${one.name} cannot be started: ${reason}`));
  }

  #forget(one: SupervisedInstance): void {
    // It may have been asked for again meanwhile.
    if (one.wanted !== "end") return;
    this.#instances.delete(one.name);
  }

  /**
   * What an instance is started from now. While it is not proven that what is wanted works, only the
   * one whose turn it is tries it: others that have to be started come back as they served before.
   */
  #specFor(one: SupervisedInstance): ProcessSpec | null {
    const { isProven, failure, turn } = this.#rollout;
    const isTried = turn?.name === one.name || failure?.name === one.name;
    const { proven } = one;
    if ((isProven && failure === null) || isTried || proven === null) return one.spec;
    return isSamePlace(proven.plan, one.plan) ? proven.spec : one.spec;
  }

  #operate(one: SupervisedInstance, label: string, run: () => Promise<void>): void {
    const { clock, log, wake, locks } = this.#options;
    const ended = run()
      .catch((err: unknown) => {
        log.error({ instance: one.name, err, operation: label }, "operation on instance failed");
        one.changedAt = clock.elapsed();
        one.settle(() => true, err as Error);
        one.asked = null;
      })
      .then(() => locks.keepOnly(this.#neededThings()))
      .catch((err: unknown) => {
        log.warn({ err }, "locks were not given back");
      })
      .finally(() => {
        one.operation = null;
        wake();
      });
    one.operation = { label, ended };
  }

  #neededThings(): readonly LockThing[] {
    return [...this.#instances.values()].flatMap((one) => [
      ...one.place().things,
      ...(one.process?.place.things ?? []),
    ]);
  }
}

function needOf(
  kind: "asked" | "release_changed" | "plan_changed" | "unmanaged" | "memory_growth",
): RollFacts["needs"] {
  return kind === "unmanaged" || kind === "memory_growth" ? kind : "change";
}
