/** What the supervisor knows of one instance: data, and how it changes by what is seen. No I/O. */
import type { Random } from "@holdfast/runtime";
import type { ProcessSpec } from "../process-manager/model.ts";
import { afterFailure, afterUptime, NO_FAILURES, type FailurePolicy } from "./failure-record.ts";
import type { LockThing } from "./host-locks.ts";
import type { InstanceHealth, InstancePlan } from "./model.ts";
import type { Action, DrainCause, Leftovers, ProcessFacts } from "./supervision.ts";

/** The end of a process. */
export interface ExitRecord {
  readonly pid: number;
  /** Epoch ms; null when it was not seen. */
  readonly startedAt: number | null;
  readonly endedAt: number;
  /** Ended by the supervisor or a person, for a reason that is no failure. */
  readonly wasAsked: boolean;
  readonly reason: string;
  /** As the process manager tells it, which for a death by a signal may be 0; null while unknown. */
  readonly exitCode: number | null;
}

/** The process of an instance. */
export interface ProcessRecord extends ProcessFacts {
  readonly startTime: string;
  /** Epoch ms; null when it was not seen. */
  readonly startedAtEpoch: number | null;
  readonly healthySince: number | null;
  /** Since when it is in our care, of one that lived before; null for one that we started. */
  readonly adoptedAt: number | null;
  /** Adopted, and the runner cannot know yet what is in it: that counts as busy, for a limited time. */
  readonly isUnsure: boolean;
  /** What the runner says of jobs in it is so: it has had a job there, or seen it idle. */
  readonly isJobKnown: boolean;
  /** Where it is reached, and what it uses: the plan may name another place by now. */
  readonly place: ProcessPlace;
}

/** Where a process is. */
export interface ProcessPlace {
  readonly url: string;
  readonly port: number;
  readonly things: readonly LockThing[];
}

/** Somebody waits for an instance that was asked to start anew. */
export interface RestartWaiter {
  /** The new process was started. */
  isStarted: boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Ends kept of an instance. */
const MAX_EXITS = 20;

/** Found in the way, with what is needed to take it into care. */
export interface FoundLeftovers extends Leftovers {
  readonly own: readonly {
    readonly pid: number;
    readonly listens: boolean;
    readonly startTime: string;
    readonly digest: string | null;
  }[];
}

/** One instance under supervision. Instants are of the monotonic clock unless said otherwise. */
export class SupervisedInstance {
  plan: InstancePlan;
  wanted: "run" | "keep" | "end" = "run";
  /** What it would be started with; null without a release. */
  spec: ProcessSpec | null = null;
  /** What it was last healthy with: card, port and all. */
  proven: { readonly plan: InstancePlan; readonly spec: ProcessSpec } | null = null;
  process: ProcessRecord | null = null;
  failures = NO_FAILURES;
  exits: readonly ExitRecord[] = [];
  /** Processes it has had while this program ran. */
  processes = 0;
  leftovers: FoundLeftovers | null = null;
  leftoversUntil = -Infinity;
  hasLooked = false;
  lockRefusal: string | null = "its card and port are not locked yet";
  lockTriedAt = -Infinity;
  lockTryAt = -Infinity;
  asked: string | null = null;
  readonly waiters = new Set<RestartWaiter>();
  drain: {
    readonly cause: DrainCause;
    readonly startedAt: number;
    isDrained: boolean;
    readonly stop: AbortController;
  } | null = null;
  /** What is being done; nothing else is begun meanwhile. */
  operation: { readonly label: string; readonly ended: Promise<void> } | null = null;
  /** What the process manager said before this instant is out of date. */
  changedAt = -Infinity;
  /** When it was asked for the answer that was taken in last. */
  listedAt = -Infinity;
  lastAction: Action | null = null;
  /** Why nothing can be done on its card; null when it can. */
  cardFault: string | null = null;
  health: InstanceHealth | undefined;
  /** Its process takes connections, as of the last probe. */
  isListening = false;
  probeAt = -Infinity;

  constructor(plan: InstancePlan) {
    this.plan = plan;
  }

  get name(): string {
    return this.plan.name;
  }

  /** It cannot run for what is not its own: its card, or whoever has its card or port. */
  get isHindered(): boolean {
    const { lastAction } = this;
    return this.cardFault !== null || (lastAction?.kind === "blocked" && lastAction.isHindered);
  }

  /** Where it is to be. */
  place(): ProcessPlace {
    return placeOf(this.plan);
  }

  /** A process of it is there now. */
  found(record: ProcessRecord): void {
    if (this.process?.pid !== record.pid) {
      this.processes += 1;
      // What is known of the port is of the process whose place it took.
      this.isListening = false;
      this.probeAt = -Infinity;
    }
    this.process = record;
    this.leftovers = null;
  }

  /** What the process manager said last is of now. */
  isListed(): boolean {
    return this.listedAt > this.changedAt;
  }

  /** Its process has ended. */
  ended(
    end: Omit<ExitRecord, "pid" | "startedAt">,
    at: number,
    policy: FailurePolicy,
    random: Random,
  ): void {
    const { process } = this;
    if (process === null) return;
    const exit = { ...end, pid: process.pid, startedAt: process.startedAtEpoch };
    this.exits = [...this.exits, exit].slice(-MAX_EXITS);
    this.process = null;
    this.leftovers = null;
    // It was about the process that is gone: "it is as it should be" would be told of a dead one.
    this.lastAction = null;
    this.changedAt = at;
    this.cancelDrain();
    if (!end.wasAsked) this.failed(end.reason, at, policy, random);
  }

  /** Why its last process ended has been found out. */
  explained(exit: Pick<ExitRecord, "pid" | "endedAt">, reason: string): void {
    this.exits = this.exits.map((one) =>
      one.pid === exit.pid && one.endedAt === exit.endedAt ? { ...one, reason } : one,
    );
  }

  /** It failed, or a start of it came to nothing. */
  failed(reason: string, at: number, policy: FailurePolicy, random: Random): void {
    this.failures = afterFailure(this.failures, at, policy, random);
    this.settle((waiter) => waiter.isStarted, new Error(`${this.name} failed: ${reason}`));
  }

  /** Forgets its drain; whoever drains stops waiting. */
  cancelDrain(): void {
    this.drain?.stop.abort();
    this.drain = null;
  }

  /** Answers those who wait: with a failure, or with success. */
  settle(isMeant: (waiter: RestartWaiter) => boolean, failure?: Error): void {
    for (const waiter of this.waiters) {
      if (!isMeant(waiter)) continue;
      this.waiters.delete(waiter);
      if (failure === undefined) waiter.resolve();
      else waiter.reject(failure);
    }
  }

  /** Takes in what is seen of its process now. */
  observe(seen: ProcessSeen, policy: FailurePolicy): void {
    this.health = seen.health;
    if (this.process === null) return;
    const process = watchProcess(this.process, seen, this.plan.drainMs);
    this.process = process;
    const { healthySince, digest } = process;
    if (healthySince !== null) {
      this.failures = afterUptime(this.failures, seen.now - healthySince, policy);
      this.settle((waiter) => waiter.isStarted);
      if (this.spec !== null && digest === this.spec.digest) {
        this.proven = { plan: this.plan, spec: this.spec };
      }
    } else if (seen.now - process.startedAt >= this.plan.startTimeoutMs) {
      const why = process.healthReason === null ? "" : `: ${process.healthReason}`;
      const limit = `${this.name} was not healthy ${this.plan.startTimeoutMs / 1_000} s after its start`;
      this.settle((waiter) => waiter.isStarted, new Error(`${limit}${why}`));
    }
  }
}

/** The place of a plan. */
export function placeOf({ url, port, gpu }: InstancePlan): ProcessPlace {
  const own: LockThing = { kind: "port", port };
  return { url, port, things: gpu === null ? [own] : [{ kind: "gpu", uuid: gpu.uuid }, own] };
}

/**
 * Where a process is that was there before: on the card of the plan, and on the port that it was started
 * on, which an earlier plan may have named.
 */
export function startedPlace(plan: InstancePlan, port: number | undefined): ProcessPlace {
  if (port === undefined || port === plan.port) return placeOf(plan);
  const url = new URL(plan.url);
  url.port = String(port);
  return placeOf({ ...plan, port, url: url.origin });
}

/** Whether two plans are of the same card and address. */
export function isSamePlace(a: InstancePlan, b: InstancePlan): boolean {
  return a.url === b.url && a.port === b.port && a.gpu?.uuid === b.gpu?.uuid;
}

/** What is seen of a process in one moment. */
export interface ProcessSeen {
  readonly now: number;
  /** Somebody listens on its port. */
  readonly isListening: boolean;
  /** Undefined: no runner serves it, and listening has to do. */
  readonly health: InstanceHealth | undefined;
}

/**
 * The record of a process after a look. It counts as healthy only while its port is listened on too:
 * the runner may not have noticed yet that a new process took the place of the one it knew. One that
 * was adopted may be in a job that the runner is not told of before the agent is registered: for at
 * most `unsureMs` it counts as busy until the runner has seen it work, or a check come through.
 */
export function watchProcess(
  process: ProcessRecord,
  seen: ProcessSeen,
  unsureMs: number,
): ProcessRecord {
  const { now, isListening, health } = seen;
  const isHealthy = isListening && (health === undefined || health.state === "healthy");
  const isBad = health?.state === "unhealthy";
  const { adoptedAt } = process;
  // One that serves from before has answered then; a job keeps the runner's check waiting.
  const isWaitedFor = adoptedAt !== null && isListening && health?.state === "starting";
  const answers = isHealthy || (isBad && isListening) || isWaitedFor;
  const isMendable = isBad && isListening && health.isMendedByRestart !== false;
  const answeredAt = process.answeredAt ?? (answers ? now : null);
  // That it listens says nothing of what is in it.
  const isTold = health !== undefined && (isHealthy || health.isBusy);
  const isJobKnown = process.isJobKnown || adoptedAt === null || isTold;
  const isUnsure = !isJobKnown && isListening && now - (adoptedAt ?? now) < unsureMs;
  return {
    ...process,
    answeredAt,
    isHealthy,
    isListening,
    isJobKnown,
    isUnsure,
    isBusy: isUnsure || (health?.isBusy ?? false),
    isStuck: health?.isStuck ?? false,
    healthReason: health?.reason ?? null,
    healthySince: isHealthy ? (process.healthySince ?? now) : null,
    unhealthySince: isMendable ? (process.unhealthySince ?? now) : null,
    silentSince: answeredAt !== null && !answers ? (process.silentSince ?? now) : null,
  };
}

/** A process that was just found or started. */
export function newProcess(
  given: Pick<
    ProcessRecord,
    | "pid"
    | "startTime"
    | "digest"
    | "isManaged"
    | "isNew"
    | "startedAt"
    | "startedAtEpoch"
    | "place"
    | "adoptedAt"
  >,
): ProcessRecord {
  return {
    ...given,
    answeredAt: null,
    isHealthy: false,
    isListening: false,
    isBusy: false,
    // Until the first look at it.
    isUnsure: given.adoptedAt !== null,
    isJobKnown: given.adoptedAt === null,
    isStuck: false,
    unhealthySince: null,
    silentSince: null,
    healthReason: null,
    memoryBytes: null,
    healthySince: null,
  };
}
