import {
  MAX_INSTANCES_PER_MACHINE,
  type HeldAttempt,
  type InstanceReport,
  type WantedModel,
} from "@holdfast/contract";
import type { Failpoints } from "@holdfast/runtime";
import type { AgentOptions, AgentStatus, ServedHealth, ServedInstance } from "./agent-options.ts";
import type { AgentState } from "./agent-state.ts";
import { reportInstance } from "./declare.ts";
import { Instance } from "./instance.ts";
import { InstanceLoop } from "./instance-loop.ts";
import type { KnownInventory } from "./instance-inventory.ts";
import type { AgentLimits } from "./limits.ts";
import { slept, WAIT_OVER } from "./pause.ts";
import type { Reporter, Session } from "./reporter.ts";
import type { Spool } from "./spool.ts";

/** An instance with what runs on it. */
export interface Slot {
  readonly instance: Instance;
  readonly loop: InstanceLoop;
  /** Undefined before the control plane knows it. */
  instanceId: string | undefined;
}

/** What {@link ServedInstances} are made of. */
export interface ServedInstancesDeps {
  readonly options: AgentOptions;
  readonly limits: AgentLimits;
  readonly failpoints: Failpoints;
  readonly spool: Spool;
  readonly reporter: Reporter;
  readonly session: () => Session | undefined;
  /** Capacity or the held attempts have changed. */
  readonly onCapacity: () => void;
  /** An instance has something new to say of itself. */
  readonly onNews: () => void;
  /** Others are served than were declared. */
  readonly onDeclare: () => void;
}

/** Throws when there are more instances than one agent may serve, or one twice. */
export function checkInstances(instances: readonly ServedInstance[]): void {
  if (instances.length > MAX_INSTANCES_PER_MACHINE) {
    throw new Error(
      `an agent serves at most ${MAX_INSTANCES_PER_MACHINE} instances, ${instances.length} were given`,
    );
  }
}

/** The instances that an agent serves now, and how they come and go. */
export class ServedInstances {
  readonly #deps: ServedInstancesDeps;
  #slots: readonly Slot[] = [];
  #state: AgentState | undefined;
  #isDraining = false;
  #change: Promise<void> = Promise.resolve();
  readonly #stopping = new AbortController();

  constructor(deps: ServedInstancesDeps) {
    this.#deps = deps;
  }

  /** Makes and starts the first ones. */
  open(instances: readonly ServedInstance[], state: AgentState): void {
    this.#state = state;
    this.#slots = instances.map((given) => this.#make(given));
  }

  all(): readonly Slot[] {
    return this.#slots;
  }

  find(key: string): Slot | undefined {
    return this.#slots.find(({ instance }) => instance.key === key);
  }

  inventory(digest: string): KnownInventory | undefined {
    return this.#slots
      .map(({ instance }) => instance.inventory())
      .find((known) => known?.inventory.digest === digest);
  }

  /** Whether an instance lists a model, whatever separators it spells it with. */
  haveModel({ folder, name }: WantedModel): boolean {
    return this.#slots.some(({ instance }) => {
      const names = instance.inventory()?.inventory.models[folder] ?? [];
      return names.some((one) => one.replaceAll("\\", "/") === name.replaceAll("\\", "/"));
    });
  }

  held(): readonly HeldAttempt[] {
    return this.#slots.flatMap(({ loop }) => loop.held());
  }

  wants(): number {
    return this.#slots.reduce((sum, { loop }) => sum + loop.wants(), 0);
  }

  reports(): readonly InstanceReport[] {
    return this.#slots.flatMap(({ instance, loop, instanceId }) => {
      if (instanceId === undefined) return [];
      const endedOnPurpose = loop.isEndingOnPurpose();
      return [reportInstance(instanceId, instance, { wants: loop.wants(), endedOnPurpose })];
    });
  }

  status(): AgentStatus["instances"] {
    return this.#slots.map(({ instance, loop }) => {
      const { state, reason } = instance.facts();
      const { key, name } = instance;
      return { key, name, state, reason, wants: loop.wants(), held: loop.held() };
    });
  }

  health(url: string): ServedHealth | undefined {
    const slot = this.find(url);
    if (slot === undefined) return undefined;
    const { state, reason, isMendedByRestart, isStuck } = slot.instance.facts();
    const isBusy = slot.loop.isBusy();
    return {
      state,
      reason,
      isBusy,
      ...(isMendedByRestart === undefined ? {} : { isMendedByRestart }),
      ...(isStuck === undefined ? {} : { isStuck }),
    };
  }

  async drain(withinMs: number): Promise<boolean> {
    this.#isDraining = true;
    for (const { loop } of this.#slots) loop.drain();
    this.#deps.onCapacity();
    return this.#areIdle(this.#slots, withinMs);
  }

  /** See `Agent.setInstances`. */
  change(wanted: readonly ServedInstance[]): Promise<void> {
    const done = this.#change.then(() => this.#changeTo(wanted));
    this.#change = done.catch(() => undefined); // Whoever asked is told.
    return done;
  }

  /** Ends everything without touching ComfyUI, for the next agent to resume. */
  async leave(): Promise<void> {
    this.#stopping.abort(WAIT_OVER);
    await Promise.all(this.#slots.map(({ loop }) => loop.leave()));
  }

  async stop(): Promise<void> {
    this.#stopping.abort(WAIT_OVER);
    await this.#change;
    await Promise.all(this.#slots.map(({ instance }) => instance.stop()));
  }

  async #changeTo(wanted: readonly ServedInstance[]): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    const urls = new Set(wanted.map(({ url }) => url));
    const leaving = this.#slots.filter(({ instance }) => !urls.has(instance.key));
    const fresh = wanted.filter(({ url }) => this.find(url) === undefined);
    for (const { url, name = url, promise } of wanted) {
      this.find(url)?.instance.describe({ name, promise });
    }
    for (const { loop } of leaving) loop.drain();
    if (fresh.length > 0) {
      this.#slots = [...this.#slots, ...fresh.map((given) => this.#make(given))];
      this.#deps.onDeclare();
    }
    if (leaving.length === 0) return;
    this.#deps.onCapacity();
    await this.#areIdle(leaving, this.#deps.limits.leaveMs);
    // What runs still is not ours to wait for any longer: its lease ends, and it runs elsewhere.
    await Promise.all(leaving.map(({ loop }) => loop.leave()));
    this.#slots = this.#slots.filter((slot) => !leaving.includes(slot));
    await Promise.all(leaving.map(({ instance }) => instance.stop()));
    if (!this.#stopping.signal.aborted) this.#deps.onDeclare();
  }

  async #areIdle(slots: readonly Slot[], withinMs: number): Promise<boolean> {
    const patience = new AbortController();
    const onStop = (): void => patience.abort(WAIT_OVER);
    this.#stopping.signal.addEventListener("abort", onStop, { once: true });
    if (this.#stopping.signal.aborted) onStop();
    const idle = Promise.all(slots.map(({ loop }) => loop.idle())).then(() => true);
    const late = slept(this.#deps.options.clock, withinMs, patience.signal).then(() => false);
    const isIdle = await Promise.race([idle, late]);
    patience.abort(WAIT_OVER);
    this.#stopping.signal.removeEventListener("abort", onStop);
    return isIdle;
  }

  #make(given: ServedInstance): Slot {
    const { options, limits, session } = this.#deps;
    const { link, clock, random, log, control } = options;
    const { failpoints, spool, reporter } = this.#deps;
    const common = { clock, random, log, limits };
    const loop = new InstanceLoop({
      ...common,
      link,
      failpoints,
      spool,
      reporter,
      control,
      session,
      onChange: () => this.#deps.onCapacity(),
    });
    const instance = new Instance({
      ...common,
      url: given.url,
      name: given.name ?? given.url,
      promise: given.promise,
      timeouts: options.timeouts ?? {},
      transport: options.transport ?? {},
      marker: this.#state?.marker(given.url),
      onMarker: (promptId) => this.#state?.setMarker(given.url, promptId),
      isBusy: () => loop.isBusy(),
      onSocket: (event) => loop.onSocket(event),
      onReplaced: (reason) => loop.onReplaced(reason),
      onChange: () => {
        this.#deps.onNews();
        loop.onInstanceChange();
      },
    });
    loop.bind(instance);
    if (this.#isDraining) loop.drain();
    instance.start();
    return { instance, loop, instanceId: undefined };
  }
}
