import { join } from "node:path";
import type { ComfyTimeouts } from "@holdfast/comfyui";
import {
  AGENT_PROTOCOL_VERSION,
  isHoldfastError,
  MAX_HELD_ATTEMPTS,
  MAX_INSTANCES_PER_MACHINE,
  type AgentConfig,
  type ControlPlaneLink,
  type HeldAttempt,
  type InstanceReport,
  type InstanceState,
  type Lease,
  type PollRequest,
  type PollResponse,
  type RegisterResponse,
  type Revoked,
} from "@holdfast/contract";
import {
  createIdSource,
  NO_FAILPOINTS,
  type Clock,
  type Failpoints,
  type IdSource,
  type Random,
  type Service,
} from "@holdfast/runtime";
import type { AgentLog } from "./agent-log.ts";
import { openAgentState, type AgentState } from "./agent-state.ts";
import { nodeDisk, type Disk } from "./disk.ts";
import { declareInstance, NAME_MAX, reportInstance } from "./declare.ts";
import { Instance, type ComfyTransport } from "./instance.ts";
import { InstanceLoop } from "./instance-loop.ts";
import { InventorySender } from "./inventory-sender.ts";
import { LeaseKeeper } from "./lease-keeper.ts";
import { DEFAULT_LIMITS, type AgentLimits } from "./limits.ts";
import { untilAnswered } from "./link-retry.ts";
import { slept, WAIT_OVER } from "./pause.ts";
import { Poller } from "./poller.ts";
import { Reporter, type Session } from "./reporter.ts";
import { signOff } from "./sign-off.ts";
import { Spool } from "./spool.ts";
import { cutText } from "./wire-text.ts";

/** Version that the agent tells at registration. */
export const AGENT_VERSION = "0.1.0";

/** Superseded twice within this time: the other one lives, and this one makes room. */
const RECLAIM_REST_MS = 10_000;

/** Settings of {@link createAgent}. */
export interface AgentOptions {
  readonly link: ControlPlaneLink;
  /** The ComfyUIs to attach to, by base URL. */
  readonly instances: readonly { readonly url: string; readonly name?: string }[];
  /** A folder of the agent's own: its id, undelivered reports, outputs on their way. */
  readonly stateDir: string;
  readonly machineName: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly ids?: IdSource;
  readonly log: AgentLog;
  readonly failpoints?: Failpoints;
  readonly limits?: Partial<AgentLimits>;
  /** How long calls to ComfyUI may take. */
  readonly timeouts?: Partial<ComfyTimeouts>;
  /** Takes the place of the network between agent and ComfyUI. */
  readonly transport?: ComfyTransport;
  /** Takes the place of the machine's disk, on which {@link stateDir} is. */
  readonly disk?: Disk;
}

/** What an agent says of itself. */
export interface AgentStatus {
  readonly machineId: string | null;
  readonly isRegistered: boolean;
  /** A newer process of this machine has taken over: this one does nothing any more. */
  readonly isSuperseded: boolean;
  readonly instances: readonly {
    readonly key: string;
    readonly name: string;
    readonly state: InstanceState;
    readonly reason: string | null;
    readonly wants: number;
    readonly held: readonly HeldAttempt[];
  }[];
  readonly spoolBytes: number;
  readonly unsentReports: number;
}

/** Runs leased jobs on the ComfyUIs of one machine; see {@link createAgent}. */
export interface Agent extends Service {
  status(): AgentStatus;
  /**
   * Takes no more work, gives back what is staged and waits for what runs, at most so long. True
   * when nothing is left. `stop` then leaves what still runs to the next agent.
   */
  drain(withinMs: number): Promise<boolean>;
}

interface Slot {
  readonly instance: Instance;
  readonly loop: InstanceLoop;
  instanceId: string | undefined;
}

/**
 * Makes an agent. `start` resolves when it is at work; the control plane and the instances may come
 * later, it waits for both. `stop` leaves running prompts alone: the next process of this machine
 * finds and resumes them.
 */
export function createAgent(options: AgentOptions): Agent {
  if (options.instances.length > MAX_INSTANCES_PER_MACHINE) {
    throw new Error(
      `an agent serves at most ${MAX_INSTANCES_PER_MACHINE} instances, ${options.instances.length} were given`,
    );
  }
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
  #slots: readonly Slot[] = [];
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
        for (const { loop } of this.#slots) loop.distrust(attemptId);
      },
      onRefused: (error, of) => void this.#onRefused(error, of),
    });
    this.#poller = new Poller({
      ...common,
      session,
      held,
      reports: () => this.#reports(),
      wants: () => this.#slots.reduce((sum, { loop }) => sum + loop.wants(), 0),
      version: () => this.#version,
      onAnswer: (answer, request, startedAt) => this.#onAnswer(answer, request, startedAt),
      onRefused: (error, of) => this.#onRefused(error, of),
    });
    this.#inventories = new InventorySender({
      ...common,
      signal: this.#stopping.signal,
      find: (digest) =>
        this.#slots
          .map(({ instance }) => instance.inventory())
          .find((known) => known?.inventory.digest === digest),
      onSent: () => {
        this.#version += 1;
        this.#poller.notify();
      },
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
      isSuperseded: this.#isSuperseded,
      instances: this.#slots.map(({ instance, loop }) => {
        const { state, reason } = instance.facts();
        const { key, name } = instance;
        return { key, name, state, reason, wants: loop.wants(), held: loop.held() };
      }),
      spoolBytes: this.#spool.usedBytes(),
      unsentReports: this.#reporter.unsent(),
    };
  }

  async drain(withinMs: number): Promise<boolean> {
    for (const { loop } of this.#slots) loop.drain();
    this.#poller.notify();
    const patience = new AbortController();
    const idle = Promise.all(this.#slots.map(({ loop }) => loop.idle())).then(() => true);
    const late = slept(this.#options.clock, withinMs, patience.signal).then(() => false);
    const isIdle = await Promise.race([idle, late]);
    patience.abort(WAIT_OVER);
    return isIdle;
  }

  async #start(): Promise<void> {
    const { stateDir, log } = this.#options;
    this.#state = await openAgentState(stateDir, this.#bootId, log, this.#disk);
    await this.#spool.start();
    await this.#spool.keepOnly(await this.#reporter.load());
    this.#slots = this.#options.instances.map((given) => this.#createSlot(given));
    for (const { instance } of this.#slots) instance.start();
    this.#reporter.start();
    this.#keeper.start();
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
      await signOff(this.#session, this.#reports(), {
        link: this.#options.link,
        clock,
        log: this.#options.log,
        limitMs: this.#limits.stopMs,
      });
    }
    await this.#keeper.stop();
    // The runs that wait for an answer get theirs from the reporter's end.
    const left = Promise.all(this.#slots.map(({ loop }) => loop.leave()));
    await this.#reporter.stop();
    await left;
    await Promise.all(this.#slots.map(({ instance }) => instance.stop()));
    await this.#registering;
    await this.#state?.flush();
  }

  async #untilSent(signal: AbortSignal): Promise<void> {
    while (this.#reporter.unsent() > 0 && this.#session !== undefined) {
      if (!(await slept(this.#options.clock, 10, signal))) return;
    }
  }

  #createSlot(given: { readonly url: string; readonly name?: string }): Slot {
    const { link, clock, random, log } = this.#options;
    const loop = new InstanceLoop({
      link,
      clock,
      random,
      log,
      limits: this.#limits,
      failpoints: this.#failpoints,
      spool: this.#spool,
      reporter: this.#reporter,
      session: () => this.#session,
      onChange: () => this.#poller.notify(),
    });
    const instance = new Instance({
      url: given.url,
      name: given.name ?? given.url,
      clock,
      random,
      log,
      limits: this.#limits,
      timeouts: this.#options.timeouts ?? {},
      transport: this.#options.transport ?? {},
      marker: this.#state?.marker(given.url),
      onMarker: (promptId) => this.#state?.setMarker(given.url, promptId),
      isBusy: () => loop.isBusy(),
      onSocket: (event) => loop.onSocket(event),
      onReplaced: (reason) => loop.onReplaced(reason),
      onChange: () => {
        this.#version += 1;
        loop.onInstanceChange();
      },
    });
    loop.bind(instance);
    return { instance, loop, instanceId: undefined };
  }

  async #registerAndPoll(): Promise<void> {
    if (await this.#register()) this.#poller.start();
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
      const declaring = { clock, limits: this.#limits, signal };
      const instances = await Promise.all(
        this.#slots.map(({ instance }) => declareInstance(instance, declaring)),
      );
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
    for (const slot of this.#slots) {
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
      this.#slots.find(({ instance }) => instance.key === key)?.instance.abandon(promptId);
    }
    this.#options.log.info(
      { machineId: answer.machineId, session: answer.session, resumed: answer.leases.length },
      "registered",
    );
    this.#reporter.wake();
    this.#poller.notify();
  }

  #configure(config: AgentConfig): void {
    this.#keeper.configure(config);
    this.#poller.configure(config);
  }

  #reports(): readonly InstanceReport[] {
    return this.#slots.flatMap(({ instance, loop, instanceId }) => {
      if (instanceId === undefined) return [];
      return [reportInstance(instanceId, instance, loop.wants())];
    });
  }

  #held(): readonly HeldAttempt[] {
    const held = [...this.#slots.flatMap(({ loop }) => loop.held()), ...this.#reporter.held()];
    return held.slice(0, MAX_HELD_ATTEMPTS);
  }

  #onAnswer(answer: PollResponse, request: PollRequest, startedAt: number): boolean {
    if (answer.config !== null) this.#configure(answer.config);
    if (answer.renewed) this.#keeper.renewed(request.held, startedAt);
    let isNews = false;
    for (const lease of answer.leases) isNews = this.#assign(lease, startedAt) || isNews;
    isNews = this.#revoke(answer.revoked) || isNews;
    this.#inventories.want(answer.inventoriesWanted);
    return isNews;
  }

  #assign(lease: Lease, startedAt: number): boolean {
    if (this.#reporter.adopt(lease)) return false;
    const slot = this.#slots.find(({ instanceId }) => instanceId === lease.instanceId);
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
    return this.#slots.some(({ loop }) => loop.stop(attemptId, reason)) || isDropped;
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
