import { join } from "node:path";
import {
  AGENT_PROTOCOL_VERSION,
  isHoldfastError,
  MAX_HELD_ATTEMPTS,
  type AgentConfig,
  type HeldAttempt,
  type Lease,
  type PollRequest,
  type PollResponse,
  type RegisterResponse,
  type Revoked,
} from "@holdfast/contract";
import { createIdSource, NO_FAILPOINTS, type Failpoints } from "@holdfast/runtime";
import type {
  Agent,
  AgentOptions,
  AgentStatus,
  ServedHealth,
  ServedInstance,
} from "./agent-options.ts";
import { openAgentState, type AgentState } from "./agent-state.ts";
import { nodeDisk, type Disk } from "./disk.ts";
import { declareInstance, NAME_MAX } from "./declare.ts";
import { InventorySender } from "./inventory-sender.ts";
import { LeaseKeeper } from "./lease-keeper.ts";
import { DEFAULT_LIMITS, type AgentLimits } from "./limits.ts";
import { untilAnswered } from "./link-retry.ts";
import { MachineTeller, type ToldRun } from "./machine-teller.ts";
import { ModelFetches } from "./model-fetches.ts";
import { slept, WAIT_OVER } from "./pause.ts";
import { Poller } from "./poller.ts";
import { Reporter, type Session } from "./reporter.ts";
import { checkInstances, ServedInstances } from "./served-instances.ts";
import { signOff } from "./sign-off.ts";
import { Spool } from "./spool.ts";
import { cutText } from "./wire-text.ts";

/** Version that the agent tells at registration. */
export const AGENT_VERSION = "0.1.0";

/** Superseded twice within this time: the other one lives, and this one makes room. */
const RECLAIM_REST_MS = 10_000;

/**
 * Makes an agent. `start` resolves when it is at work; the control plane and the instances may come
 * later, it waits for both. `stop` leaves running prompts alone: the next process of this machine
 * finds and resumes them.
 */
export function createAgent(options: AgentOptions): Agent {
  checkInstances(options.instances);
  return new AttachedAgent(options);
}

class AttachedAgent implements Agent {
  readonly name = "agent";
  readonly #options: AgentOptions;
  readonly #limits: AgentLimits;
  readonly #failpoints: Failpoints;
  readonly #disk: Disk;
  readonly #bootId: string;
  readonly #stopping = new AbortController();
  readonly #spool: Spool;
  readonly #reporter: Reporter;
  readonly #keeper: LeaseKeeper;
  readonly #poller: Poller;
  readonly #inventories: InventorySender;
  #state: AgentState | undefined;
  readonly #served: ServedInstances;
  readonly #fetches: ModelFetches;
  readonly #teller: MachineTeller;
  /** Until the start. */
  #wanted: readonly ServedInstance[];
  #session: Session | undefined;
  #registering: Promise<boolean> | undefined;
  #isSuperseded = false;
  #reclaimedAt = -Infinity;
  /** Grows when an instance has something new to say of itself. */
  #version = 0;
  #started: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#failpoints = options.failpoints ?? NO_FAILPOINTS;
    this.#disk = options.disk ?? nodeDisk;
    this.#wanted = options.instances;
    const { clock, random, link, log } = options;
    this.#bootId = (options.ids ?? createIdSource(clock, random)).next("boot");
    this.#spool = new Spool(join(options.stateDir, "spool"), this.#limits, this.#disk);
    const common = { clock, random, link, log, limits: this.#limits };
    const session = (): Session | undefined => this.#session;
    const held = (): readonly HeldAttempt[] => this.#held();
    this.#reporter = new Reporter({
      ...common,
      folder: join(options.stateDir, "reports"),
      disk: this.#disk,
      spool: this.#spool,
      session,
      onRefused: (error, of) => void this.#onRefused(error, of),
    });
    this.#keeper = new LeaseKeeper({
      ...common,
      session,
      held,
      onRevoked: (revoked) => this.#revoke(revoked),
      onDistrusted: (attemptId) => {
        for (const { loop } of this.#served.all()) loop.distrust(attemptId);
      },
      onRefused: (error, of) => void this.#onRefused(error, of),
    });
    this.#poller = new Poller({
      ...common,
      session,
      held,
      reports: () => this.#served.reports(),
      wants: () => this.#served.wants(),
      version: () => this.#version,
      onAnswer: (answer, request, startedAt) => this.#onAnswer(answer, request, startedAt),
      onRefused: (error, of) => this.#onRefused(error, of),
    });
    this.#inventories = new InventorySender({
      ...common,
      signal: this.#stopping.signal,
      find: (digest) => this.#served.inventory(digest),
      onSent: () => {
        this.#version += 1;
        this.#poller.notify();
      },
    });
    this.#served = new ServedInstances({
      options,
      limits: this.#limits,
      failpoints: this.#failpoints,
      spool: this.#spool,
      reporter: this.#reporter,
      session,
      onCapacity: () => this.#poller.notify(),
      onNews: () => {
        this.#version += 1;
        this.#teller.wake();
      },
      onDeclare: () => this.#declareAnew(),
    });
    this.#fetches = new ModelFetches({
      ...common,
      fetch: options.onModelsWanted,
      isListed: (model) => this.#served.haveModel(model),
      onFetched: () => this.refreshInventories(),
      onChange: () => this.#teller.wake(),
      signal: this.#stopping.signal,
    });
    this.#teller = new MachineTeller({
      ...common,
      agentVersion: AGENT_VERSION,
      session,
      report: options.report,
      fetches: () => this.#fetches.states(),
    });
  }

  start(): Promise<void> {
    this.#started ??= this.#start();
    return this.#started;
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  status(): AgentStatus {
    return {
      machineId: this.#state?.machineId() ?? null,
      isRegistered: this.#session !== undefined,
      isAnswered: this.#poller.isAnswered(),
      isSuperseded: this.#isSuperseded,
      instances: this.#served.status(),
      spoolBytes: this.#spool.usedBytes(),
      unsentReports: this.#reporter.unsent(),
    };
  }

  drain(withinMs: number): Promise<boolean> {
    return this.#served.drain(withinMs);
  }

  instanceHealth(url: string): ServedHealth | undefined {
    return this.#served.health(url);
  }

  async pauseInstance(url: string, withinMs: number, signal: AbortSignal): Promise<boolean> {
    return (await this.#served.find(url)?.loop.pause(withinMs, signal)) ?? true;
  }

  resumeInstance(url: string): void {
    this.#served.find(url)?.loop.resume();
  }

  async setInstances(instances: readonly ServedInstance[]): Promise<void> {
    checkInstances(instances);
    this.#wanted = instances;
    if (this.#started === undefined) return;
    await this.#started;
    await this.#served.change(instances);
  }

  refreshInventories(): void {
    for (const { instance } of this.#served.all()) instance.refreshInventory();
  }

  reportMachine(): void {
    this.#teller.wake();
  }

  tellRun(run: ToldRun): void {
    this.#teller.tell(run);
  }

  async #start(): Promise<void> {
    const { stateDir, log } = this.#options;
    this.#state = await openAgentState(stateDir, this.#bootId, log, this.#disk);
    await this.#spool.start();
    await this.#spool.keepOnly(await this.#reporter.load());
    this.#served.open(this.#wanted, this.#state);
    this.#reporter.start();
    this.#keeper.start();
    this.#teller.start();
    void this.#registerAndPoll();
  }

  async #stop(): Promise<void> {
    if (this.#started === undefined) return;
    await this.#started.catch(() => undefined); // Whoever called `start` was told.
    const { clock } = this.#options;
    // Results that are in hand are worth a moment; nothing is lost without it.
    const patience = new AbortController();
    const sent = this.#untilSent(patience.signal);
    await Promise.race([sent, slept(clock, this.#limits.stopMs, patience.signal)]);
    patience.abort(WAIT_OVER);
    this.#stopping.abort();
    await this.#poller.stop();
    if (this.#session !== undefined) {
      await signOff(this.#session, this.#served.reports(), {
        link: this.#options.link,
        clock,
        log: this.#options.log,
        limitMs: this.#limits.stopMs,
      });
    }
    await this.#keeper.stop();
    await this.#teller.stop();
    await this.#fetches.stop();
    // The runs that wait for an answer get theirs from the reporter's end.
    const left = this.#served.leave();
    await this.#reporter.stop();
    await left;
    await this.#served.stop();
    await this.#registering;
    await this.#state?.flush();
  }

  async #untilSent(signal: AbortSignal): Promise<void> {
    while (this.#reporter.unsent() > 0 && this.#session !== undefined) {
      if (!(await slept(this.#options.clock, 10, signal))) return;
    }
  }

  async #registerAndPoll(): Promise<void> {
    if (await this.#register()) this.#poller.start();
  }

  /** Other instances are served than were declared: the control plane is told, the same process goes on. */
  #declareAnew(): void {
    const underWay = this.#registering;
    // Before the first answer there is nothing to mend: the registration under way is told again then.
    void (underWay ?? Promise.resolve()).then(() => {
      if (!this.#stopping.signal.aborted && !this.#isSuperseded) void this.#register();
    });
  }

  /** Registers, once at a time, until it is answered; false when it is over for this process. */
  #register(mayRegister?: () => Promise<boolean>): Promise<boolean> {
    this.#registering ??= this.#registerIf(mayRegister).finally(() => {
      this.#registering = undefined;
    });
    return this.#registering;
  }

  async #registerIf(mayRegister?: () => Promise<boolean>): Promise<boolean> {
    if (mayRegister === undefined || (await mayRegister())) return this.#registerOnce();
    this.#supersede();
    return false;
  }

  async #registerOnce(): Promise<boolean> {
    const { link, log, clock, machineName } = this.#options;
    const { signal } = this.#stopping;
    this.#session = undefined;
    try {
      const { control } = this.#options;
      const declared = this.#served.all().map(({ instance }) => {
        const canRestart = control?.canRestart(instance.key) === true;
        return declareInstance(instance, { clock, limits: this.#limits, signal, canRestart });
      });
      const instances = await Promise.all(declared);
      let startedAt = 0;
      const answer = await untilAnswered(
        { ...this.#options, limits: this.#limits },
        signal,
        () => {
          startedAt = clock.elapsed();
          return link.register(
            {
              protocolVersion: AGENT_PROTOCOL_VERSION,
              agentVersion: AGENT_VERSION,
              machineId: this.#state?.machineId() ?? null,
              machineName: cutText(machineName, NAME_MAX),
              bootId: this.#bootId,
              instances,
            },
            signal,
          );
        },
        (err, attempt) => {
          if (attempt === 1) log.warn({ err }, "control plane cannot be reached yet");
        },
      );
      await this.#onRegistered(answer, startedAt);
      return true;
    } catch (err) {
      if (signal.aborted) return false;
      if (isHoldfastError(err, "agent_superseded")) {
        this.#supersede();
        return false;
      }
      // A wrong key or version: somebody has to mend it, and then it should work by itself.
      log.error({ err }, "registration was refused");
      if (!(await slept(clock, this.#limits.linkCallMs, signal))) return false;
      return this.#registerOnce();
    }
  }

  async #onRegistered(answer: RegisterResponse, startedAt: number): Promise<void> {
    await this.#state?.setMachineId(answer.machineId);
    for (const slot of this.#served.all()) {
      slot.instanceId = answer.instances.find(({ key }) => key === slot.instance.key)?.instanceId;
    }
    this.#session = { machineId: answer.machineId, session: answer.session };
    this.#configure(answer.config);
    const granted = new Set<string>(answer.leases.map((lease) => lease.attemptId));
    // Held from before and not granted again: somebody else's now.
    for (const { attemptId } of this.#held()) {
      if (!granted.has(attemptId)) this.#stopAttempt(attemptId, "lost");
    }
    for (const lease of answer.leases) this.#assign(lease, startedAt);
    for (const { key, promptId } of answer.discard) {
      this.#served.find(key)?.instance.abandon(promptId);
    }
    this.#options.log.info(
      { machineId: answer.machineId, session: answer.session, resumed: answer.leases.length },
      "registered",
    );
    this.#reporter.wake();
    this.#poller.notify();
    this.#teller.wake();
  }

  #configure(config: AgentConfig): void {
    this.#keeper.configure(config);
    this.#poller.configure(config);
  }

  #held(): readonly HeldAttempt[] {
    const held = [...this.#served.held(), ...this.#reporter.held()];
    return held.slice(0, MAX_HELD_ATTEMPTS);
  }

  #onAnswer(answer: PollResponse, request: PollRequest, startedAt: number): boolean {
    if (answer.config !== null) this.#configure(answer.config);
    if (answer.renewed) this.#keeper.renewed(request.held, startedAt);
    let isNews = false;
    for (const lease of answer.leases) isNews = this.#assign(lease, startedAt) || isNews;
    isNews = this.#revoke(answer.revoked) || isNews;
    this.#inventories.want(answer.inventoriesWanted);
    this.#fetches.want(answer.modelsWanted ?? []);
    return isNews;
  }

  #assign(lease: Lease, startedAt: number): boolean {
    if (this.#reporter.adopt(lease)) return false;
    const slot = this.#served.all().find(({ instanceId }) => instanceId === lease.instanceId);
    if (slot === undefined) return false;
    this.#keeper.granted(lease, startedAt);
    return slot.loop.assign(lease);
  }

  #revoke(revoked: readonly Revoked[]): boolean {
    let isNews = false;
    for (const { attemptId, reason } of revoked) {
      isNews = this.#stopAttempt(attemptId, reason) || isNews;
    }
    return isNews;
  }

  #stopAttempt(attemptId: string, reason: Revoked["reason"]): boolean {
    const isDropped = this.#reporter.drop(attemptId);
    return this.#served.all().some(({ loop }) => loop.stop(attemptId, reason)) || isDropped;
  }

  /** Calls of a session are refused: register again, or make room for the newer process. */
  async #onRefused(error: unknown, { session }: Session): Promise<boolean> {
    // Of a session that has ended already: whatever follows from that is under way, or done.
    if (this.#session?.session !== session) return this.#registering ?? !this.#isSuperseded;
    if (isHoldfastError(error, "agent_superseded")) return this.#reclaim();
    if (!isHoldfastError(error, "machine_unknown") || this.#stopping.signal.aborted) return true;
    return this.#register();
  }

  /**
   * A newer session than ours has begun. Most often a newer process has begun it; but it can be our
   * own, of a registration whose answer came too late, and then nobody else would do our work.
   */
  #reclaim(): Promise<boolean> {
    const now = this.#options.clock.elapsed();
    const isAgain = now - this.#reclaimedAt < RECLAIM_REST_MS;
    this.#reclaimedAt = now;
    this.#session = undefined;
    return this.#register(async () => !isAgain && (await this.#state?.isNewest()) === true);
  }

  /** A newer process of this machine resumes our prompts: touch nothing, tell nothing. */
  #supersede(): void {
    if (this.#isSuperseded) return;
    this.#isSuperseded = true;
    this.#session = undefined;
    this.#options.log.error({}, "a newer agent process of this machine has taken over");
    const { log } = this.#options;
    this.stop().catch((err: unknown) => log.error({ err }, "agent did not end cleanly"));
  }
}
