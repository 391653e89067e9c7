/** What is done about an instance. Each is bounded in time, and tells the instance what came of it. */
import type { ProcessSpec } from "../process-manager/model.ts";
import { callWithin } from "./call-limit.ts";
import type { InstanceFiles } from "./instance-files.ts";
import { instancePlaces } from "./process-spec.ts";
import {
  newProcess,
  startedPlace,
  type FoundLeftovers,
  type ProcessRecord,
  type SupervisedInstance,
} from "./supervised-instance.ts";
import type { DrainCause, KillCause } from "./supervision.ts";
import type { SupervisorOptions, SupervisorPolicy } from "./supervisor-options.ts";

/** Between two attempts at draining an instance whose job takes longer than the time for it. */
const DRAIN_AGAIN_MS = 1_000;

/** Settings of {@link InstanceOperations}. */
export interface InstanceOperationsOptions extends SupervisorOptions {
  readonly files: InstanceFiles;
  readonly limits: SupervisorPolicy;
  /** Aborted when everything is to be dropped at once. */
  readonly signal: AbortSignal;
  /** Something has changed that the loop should look at soon. */
  readonly wake: () => void;
  /** A name that an instance has by the plan. */
  readonly isPlanned: (name: string) => boolean;
}

/** The hands of the supervisor. */
export class InstanceOperations {
  readonly #options: InstanceOperationsOptions;

  constructor(options: InstanceOperationsOptions) {
    this.#options = options;
  }

  /** Locks card and port. */
  async lock(one: SupervisedInstance): Promise<void> {
    const { locks, clock, limits, random, log } = this.#options;
    one.lockTriedAt = clock.elapsed();
    const refusal = await locks.acquire(one.name, one.place().things);
    if (refusal !== null && refusal !== one.lockRefusal) {
      log.error(
        { instance: one.name, reason: refusal },
        "instance is not started: locked by another",
      );
    }
    one.lockRefusal = refusal;
    // Not in step: two agents that gave way to each other would do it again.
    one.lockTryAt = clock.elapsed() + limits.blockedRetryMs * (0.5 + random.next());
  }

  /** Looks for what may be in the way of a start. */
  async look(one: SupervisedInstance): Promise<void> {
    const { host, clock, limits, isPlanned } = this.#options;
    const { port } = one.plan;
    const found = (await host.instances()).filter(({ instance }) => instance === one.name);
    const listener = await host.listenerOf(port);
    const isAlone = found.length === 1;
    const own: FoundLeftovers["own"][number][] = [];
    for (const { pid, startTime, digest } of found) {
      // An earlier plan may have had it on another port.
      const startedPort = host.startedPortOf(pid) ?? port;
      const at = startedPort === port ? listener : await host.listenerOf(startedPort);
      const isOwn = at?.isOurs === true && at.instance === one.name;
      // A child that listens does so for the only one there is.
      own.push({ pid, startTime, digest, listens: isOwn && (at.pid === pid || isAlone) });
    }
    const isOwnListener = listener?.isOurs === true && listener.instance === one.name;
    const isServing = own.some(({ pid, listens }) => listens && (pid === listener?.pid || isAlone));
    const isInTheWay = listener !== undefined && !(isOwnListener && isServing);
    one.leftovers = {
      own,
      portHolder: isInTheWay
        ? {
            pid: listener.pid,
            command: listener.command,
            instance: listener.isOurs ? listener.instance : null,
            isPlanned: listener.instance !== null && isPlanned(listener.instance),
          }
        : null,
    };
    one.hasLooked = true;
    one.leftoversUntil = clock.elapsed() + limits.blockedRetryMs;
  }

  /** Starts it from a spec. */
  async start(one: SupervisedInstance, spec: ProcessSpec, reason: string): Promise<void> {
    const { clock, manager, files, places, limits, signal, log, host, runner } = this.#options;
    log.info({ instance: one.name, digest: spec.digest, reason }, "instance is started");
    try {
      await files.prepare(instancePlaces(places, one.name));
      const started = await callWithin(
        `the start of ${one.name} by the process manager`,
        { clock, ms: limits.callMs, signal },
        (limited) => manager.start(spec, limited),
      );
      const startTime = started.pid === null ? undefined : host.startTimeOf(started.pid);
      one.changedAt = clock.elapsed();
      this.#answered(one);
      if (started.pid === null || startTime === undefined) {
        this.#failed(one, "it ended at its start: its log tells why");
        return;
      }
      await this.#took(one, {
        pid: started.pid,
        startTime,
        digest: spec.digest,
        isManaged: true,
        isNew: false,
        startedAt: clock.elapsed(),
        adoptedAt: null,
        // As the next agent will be told it: a start takes its time.
        startedAtEpoch: started.startedAt ?? clock.now(),
        place: one.place(),
      });
      runner.resume(one.plan.url);
    } catch (error) {
      one.changedAt = clock.elapsed();
      if (signal.aborted) return;
      this.#answered(one);
      this.#failed(one, `it could not be started: ${(error as Error).message}`);
    }
  }

  /** Takes a process into care that was there before. */
  async adopt(one: SupervisedInstance, reason: string): Promise<void> {
    const { clock, log, host } = this.#options;
    const orphan = one.leftovers?.own.find(({ listens }) => listens);
    if (one.process !== null) {
      await this.#took(one, { ...one.process, isNew: false });
    } else if (orphan !== undefined) {
      await this.#took(one, {
        ...orphan,
        isManaged: false,
        isNew: false,
        startedAt: clock.elapsed(),
        adoptedAt: clock.elapsed(),
        startedAtEpoch: null,
        place: startedPlace(one.plan, host.startedPortOf(orphan.pid)),
      });
    }
    log.info({ instance: one.name, pid: one.process?.pid, reason }, "instance is adopted");
  }

  /** Ends processes that are in the way. */
  async endOrphans(
    one: SupervisedInstance,
    pids: readonly number[],
    reason: string,
  ): Promise<void> {
    const { host, log } = this.#options;
    for (const pid of pids) {
      log.warn({ instance: one.name, pid, reason }, "process from before is ended");
      const startTime = host.startTimeOf(pid);
      if (startTime === undefined) continue;
      await this.#terminate(one.name, { pid, startTime }, one.plan.stopTimeoutMs);
    }
    one.leftovers = null;
  }

  /** Lets it take no more work, and waits for what runs, for as long as it is wanted. */
  beginDrain(one: SupervisedInstance, cause: DrainCause, reason: string): void {
    const { clock, log } = this.#options;
    one.cancelDrain();
    const stop = new AbortController();
    const drain = { cause, startedAt: clock.elapsed(), isDrained: false, stop };
    one.drain = drain;
    log.info({ instance: one.name, reason }, "instance is drained");
    void this.#drain(one, drain);
  }

  /** Takes work again after a drain that is not needed any more. */
  resume(one: SupervisedInstance): void {
    one.cancelDrain();
    this.#options.runner.resume(one.process?.place.url ?? one.plan.url);
  }

  /** Ends it because that was asked for, or planned. */
  async end(one: SupervisedInstance, reason: string): Promise<void> {
    const { clock, limits, random, log } = this.#options;
    const { process } = one;
    log.info({ instance: one.name, pid: process?.pid, reason }, "instance is ended");
    await this.endProcess(one.name, process, one.plan.stopTimeoutMs);
    const now = clock.elapsed();
    const end = { endedAt: clock.now(), wasAsked: true, reason, exitCode: null };
    one.ended(end, now, limits, random);
    one.cancelDrain();
    one.changedAt = now;
  }

  /**
   * Ends it, and starts it again, unless something is in the way: a part of it that lives on, or
   * another instance on a port that changed hands. Then it is started when that is out of the way.
   */
  async restart(one: SupervisedInstance, spec: ProcessSpec, reason: string): Promise<void> {
    await this.end(one, reason);
    await this.look(one);
    const isFree = one.leftovers?.portHolder === null && one.leftovers.own.length === 0;
    if (isFree) await this.start(one, spec, reason);
  }

  /** Ends one that does not work. */
  async kill(one: SupervisedInstance, cause: KillCause, reason: string): Promise<void> {
    const { clock, limits, random, log } = this.#options;
    const { process, plan } = one;
    if (process === null) return;
    log.error(
      { instance: one.name, pid: process.pid, code: cause.kind, reason },
      "instance is killed",
    );
    // Not by the process manager: it may be the one that is broken.
    const graceMs = cause.kind === "memory_limit" ? 0 : plan.stopTimeoutMs;
    await this.#terminate(one.name, process, graceMs);
    const end = { endedAt: clock.now(), wasAsked: false, reason, exitCode: null };
    one.ended(end, clock.elapsed(), limits, random);
  }

  /**
   * Ends a process by its manager, or without it where that does not work. Throws when it cannot be
   * ended at all.
   */
  async endProcess(
    name: string,
    process: Pick<ProcessRecord, "pid" | "startTime" | "isManaged"> | null,
    stopTimeoutMs: number,
  ): Promise<void> {
    const { clock, manager, limits, log, host } = this.#options;
    const signal = new AbortController().signal; // An end that was begun is brought to its end.
    let graceMs = stopTimeoutMs;
    try {
      await callWithin(
        `the end of ${name} by the process manager`,
        { clock, ms: limits.callMs + stopTimeoutMs, signal },
        (limited) => manager.remove(name, limited),
      );
      if (process?.isManaged === true) graceMs = 0;
    } catch (err) {
      log.warn({ instance: name, err }, "process manager did not end the instance");
    }
    if (process !== null && host.isAlive(process.pid, process.startTime)) {
      await this.#terminate(name, process, graceMs);
    }
  }

  async #took(one: SupervisedInstance, given: Parameters<typeof newProcess>[0]): Promise<void> {
    const { locks, log, exits } = this.#options;
    one.found(newProcess(given));
    await exits?.note(one.name, given.pid);
    await locks
      .recordProcess(given.place.things, { pid: given.pid, startTime: given.startTime })
      .catch((err: unknown) => {
        // The lock holds while this agent lives; only its afterlife is missing.
        log.warn({ instance: one.name, err }, "process was not written into its locks");
      });
  }

  async #terminate(
    name: string,
    process: { readonly pid: number; readonly startTime: string },
    graceMs: number,
  ): Promise<void> {
    const isGone = await this.#options.host.terminate(process.pid, process.startTime, graceMs);
    if (!isGone) {
      throw new Error(
        `process ${process.pid} of ${name} could not be ended: it belongs to another account, or the ` +
          "kernel waits for its device; if it stays, reset the GPU or reboot",
      );
    }
  }

  /** The start that somebody waits for is this one, whatever comes of it. */
  #answered(one: SupervisedInstance): void {
    one.asked = null;
    for (const waiter of one.waiters) waiter.isStarted = true;
  }

  #failed(one: SupervisedInstance, reason: string): void {
    const { clock, limits, random, log } = this.#options;
    one.failed(reason, clock.elapsed(), limits, random);
    log.warn({ instance: one.name, reason }, "instance did not start");
  }

  async #drain(
    one: SupervisedInstance,
    drain: NonNullable<SupervisedInstance["drain"]>,
  ): Promise<void> {
    const { runner, clock, log, wake } = this.#options;
    const { signal } = drain.stop;
    const url = one.process?.place.url ?? one.plan.url;
    while (!signal.aborted) {
      try {
        drain.isDrained = await runner.pause(url, one.plan.drainMs, signal);
        if (drain.isDrained) {
          wake();
          return;
        }
      } catch (err) {
        if (!signal.aborted)
          log.warn({ instance: one.name, err }, "instance could not be drained yet");
      }
      await clock.sleep(DRAIN_AGAIN_MS, signal).catch(() => undefined); // The loop asks the signal.
    }
  }
}
