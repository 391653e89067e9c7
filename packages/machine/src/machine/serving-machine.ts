/**
 * What of a machine serves: the instances under their supervisor, and the services beside them. It is
 * given a manifest and a release, one after the other, and brings what runs to them without stopping
 * what need not be stopped.
 *
 * S1  Changes are made one after the other; each reads anew which release the link names.
 * S2  An instance is held to what the release that it was started from promises, never to that of a
 *     release whose turn has not come.
 * S3  A release that has never worked here is left again (`release-keeper.ts`).
 * S4  Cards that could not be asked for end no instance (`kept-plans.ts`).
 */
import type { Agent, AgentLog, InventoryPromise, ServedInstance } from "@holdfast/agent";
import type { Clock, Random } from "@holdfast/runtime";
import type { Installer } from "../install/installer.ts";
import type { MachineLock } from "../install/model.ts";
import type { ModelName } from "../install/models/model-target.ts";
import { instanceAt, type InstanceAddress } from "../instances/instance-address.ts";
import { createInstanceServices } from "../instances/instance-services.ts";
import type { InstancePlan, Release } from "../instances/model.ts";
import { planInstances } from "../instances/plan-instances.ts";
import { Supervisor } from "../instances/supervisor.ts";
import { isInstanceName } from "../instances/unplanned.ts";
import type { MachinePlaces } from "../machine-places.ts";
import type { Manifest } from "../manifest/model.ts";
import { createTurns } from "../process-manager/turns.ts";
import { createExtraServices, type ExtraServices } from "../services/extra-services.ts";
import type { ServiceSource, ServiceState } from "../services/model.ts";
import { timeLimit } from "../services/time-limit.ts";
import { attachedBeside, type ServedBeside } from "./attached-services.ts";
import { endAll, throwFailures } from "./end-all.ts";
import type { GpuWatch } from "./gpu-watch.ts";
import type { Installation } from "./installation.ts";
import type { InstallerParts } from "./installer-parts.ts";
import { keptPlans } from "./kept-plans.ts";
import type { ReadManifest } from "./manifest-watch.ts";
import { ModelFetcher } from "./model-fetcher.ts";
import { findPresentModels } from "./present-models.ts";
import { ReleaseKeeper } from "./release-keeper.ts";
import { wayBack, type SeenInstances } from "./release-trust.ts";
import { seenInstances } from "./seen-instances.ts";
import { promiseOf } from "./release-promise.ts";
import { searchPath, type ServingRooms } from "./serving-rooms.ts";

/** What it is made of. */
export interface ServingMachineOptions {
  readonly places: MachinePlaces;
  /** Home folder of the account. */
  readonly home: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly rooms: ServingRooms;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  readonly agent: Pick<
    Agent,
    "instanceHealth" | "pauseInstance" | "refreshInventories" | "resumeInstance" | "setInstances"
  >;
  /** ComfyUIs of somebody else's, served beside the machine's own instances. */
  readonly attached: readonly ServedInstance[];
  readonly gpus: Pick<GpuWatch, "cardFault" | "discover" | "runsOn">;
  readonly healthPort: () => number | null;
  readonly serviceState: (name: string) => ServiceState | undefined;
  readonly installation: Pick<Installation, "note" | "status">;
  /** Something that is shown has changed. */
  readonly onChange: () => void;
  /** There are other services than before. */
  readonly onSources: () => void;
}

/** What an ill end of the process manager may take. */
const KILL_MANAGER_MS = 30_000;
const TURN = "serving";

/** See the head of this file. */
export class ServingMachine {
  readonly #options: ServingMachineOptions;
  readonly #supervisor: Supervisor;
  readonly #instances: ReturnType<typeof createInstanceServices>;
  readonly #extras: ExtraServices;
  readonly #keeper: ReleaseKeeper;
  readonly #turns = createTurns();
  #manifest: Manifest | null = null;
  #installer: Installer | undefined;
  /** Fetches models of the manifest; undefined while it is being changed. */
  #fetcher: ModelFetcher | undefined;
  #plans: readonly InstancePlan[] = [];
  #planProblem: string | null = null;
  /** Instances of cards that are not known now may run beside the planned ones. */
  #isPlanComplete = true;
  #beside: ServedBeside;
  #release: Release | null = null;
  /** The release that the supervisor was given: of others nothing is proven by what runs. */
  #given: Release | null = null;
  /** Id of the last one that was. */
  #lastGiven: string | null = null;
  #lock: MachineLock | null = null;
  #presentModels: ReadonlySet<string> = new Set();
  #names = "";
  /** What the runner was told last, where it is. */
  #places = "";

  constructor(options: ServingMachineOptions) {
    this.#options = options;
    const { places, clock, random, log, home, env, agent, rooms } = options;
    this.#beside = attachedBeside(options.attached, []);
    this.#keeper = new ReleaseKeeper({
      clock,
      log,
      installer: () => this.#installer,
      refresh: (signal) => this.refreshRelease(signal),
      passOver: () => this.#supervisor.passOver(),
    });
    this.#supervisor = new Supervisor({
      places,
      account: { home },
      clock,
      random,
      log,
      manager: rooms.manager,
      exits: rooms.exits,
      host: rooms.host,
      files: rooms.files,
      locks: rooms.locks,
      runner: {
        health: (url) => agent.instanceHealth(url),
        pause: (url, withinMs, signal) => agent.pauseInstance(url, withinMs, signal),
        resume: (url) => agent.resumeInstance(url),
      },
      cardFault: (gpu) => options.gpus.cardFault(gpu),
      cardRunsOn: (gpu) => options.gpus.runsOn(gpu),
      onChange: () => this.#onInstances(),
      onReleaseFailed: (failure) => this.#keeper.failed(failure),
    });
    this.#instances = createInstanceServices({
      places,
      isConfigured: () => this.#manifest?.comfyui !== undefined,
      installation: () => options.installation.status(),
      statuses: () => this.#supervisor.statuses(),
      status: (name) => this.#supervisor.status(name),
      planProblem: () => this.#planProblem,
    });
    this.#extras = createExtraServices({
      services: [],
      probe: rooms.probe,
      manager: rooms.manager,
      host: rooms.processHost,
      clock,
      random,
      log,
      folder: places.services,
      baseEnv: { PATH: searchPath(env), HOME: home, LANG: "C.UTF-8" },
      livingNames: rooms.livingNames,
      isAnothers: isInstanceName,
      stateOf: options.serviceState,
      onChange: options.onChange,
    });
  }

  /** Sources of all services but the installer and the attached ones. */
  sources(): readonly ServiceSource[] {
    return [this.#instances.aggregate, ...this.#instances.instances(), ...this.#extras.sources()];
  }

  /** Attached ComfyUIs that are served beside the machine's own. */
  attached(): readonly ServedInstance[] {
    return this.#beside.attached;
  }

  release(): Release | null {
    return this.#release;
  }

  lock(): MachineLock | null {
    return this.#lock;
  }

  /** Models of the manifest that are there, as `folder/name`. */
  presentModels(): ReadonlySet<string> {
    return this.#presentModels;
  }

  /** Why not everything is served that the manifest and the settings ask for, in lines. */
  problems(): readonly string[] {
    return [...(this.#planProblem === null ? [] : [this.#planProblem]), ...this.#beside.notes];
  }

  /** An instance that is wanted is reached at this address now. */
  isOurs(url: string): boolean {
    return this.#served().some((one) => one.url === url);
  }

  async restart(url: string, reason: string, signal: AbortSignal): Promise<void> {
    await this.#supervisor.restart(url, reason, signal);
  }

  /** Brings what serves to a manifest. */
  setManifest(
    { manifest }: ReadManifest,
    parts: Pick<InstallerParts, "fetch" | "installer">,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#turns.take(TURN, signal, async () => {
      this.#manifest = manifest;
      this.#installer = parts.installer;
      this.#fetcher = new ModelFetcher(parts);
      await this.#plan(signal);
      await this.#supervisor.start();
      // Neither waits for the other: an old service may take its time to end.
      const extras = this.#setExtras(manifest);
      try {
        await this.#bringToRelease(signal);
      } finally {
        await extras;
      }
    });
  }

  /** Serves by the release that the link names now. */
  refreshRelease(signal: AbortSignal): Promise<void> {
    return this.#turns.take(TURN, signal, () => this.#bringToRelease(signal));
  }

  /** Plans anew: other cards were found. */
  replan(signal: AbortSignal): Promise<void> {
    return this.#turns.take(TURN, signal, async () => {
      await this.#plan(signal);
      await this.#bringToRelease(signal);
    });
  }

  /** No model is fetched any more by the parts that it was given; they may be closed then. */
  async dropFetcher(): Promise<void> {
    const fetcher = this.#fetcher;
    this.#fetcher = undefined;
    await fetcher?.end();
  }

  /** Fetches a model that the manifest names; throws in words. */
  async fetchModel(name: ModelName, signal: AbortSignal): Promise<void> {
    if (this.#fetcher === undefined) {
      throw new Error("the machine is between two manifests, or has none: nothing is fetched now");
    }
    await this.#fetcher.fetch(name, signal);
    await this.#lookForModels();
    this.#options.onChange();
  }

  /** Drains and ends everything. Throws, after all was tried, what could not be ended. */
  async stop(): Promise<void> {
    await this.#quiet();
    const { clock, rooms } = this.#options;
    const failures = await endAll(
      () => this.#supervisor.stop(),
      () => this.#extras.stop(),
    );
    // Whatever is left under it is somebody's whom we could not end: then it stays.
    if (failures.length === 0) {
      const limit = timeLimit(clock, KILL_MANAGER_MS);
      failures.push(...(await endAll(() => rooms.manager.kill(limit.signal))));
      await limit.end();
    }
    throwFailures("not everything could be ended", failures);
  }

  /** Leaves everything running, for the next agent. */
  async leave(): Promise<void> {
    await this.#quiet();
    const failures = await endAll(
      () => this.#supervisor.leave(),
      () => this.#extras.letGo(),
    );
    throwFailures("not everything could be left in order", failures);
  }

  /** Nothing is changed any more. */
  async #quiet(): Promise<void> {
    await this.dropFetcher();
    await this.#keeper.end();
    await this.#turns.take(TURN, new AbortController().signal, () => Promise.resolve());
  }

  async #plan(signal: AbortSignal): Promise<void> {
    const { gpus, healthPort, rooms, log, attached } = this.#options;
    if (this.#manifest?.comfyui === undefined) {
      this.#plans = [];
      this.#isPlanComplete = true;
      this.#planProblem = null;
    } else {
      const port = healthPort();
      const wanted = this.#manifest.instances;
      const found = await gpus.discover(signal);
      const planned = planInstances({
        wanted,
        found,
        reservedPorts: port === null ? [] : [port],
        hasAmdGpu: await rooms.hasAmdGpu(),
      });
      const kept = keptPlans({ before: this.#plans, planned, gpus: wanted.gpus, found });
      for (const { message } of planned.warnings) {
        log.warn({ warning: message }, "instances planned");
      }
      const problems = planned.problems.map(({ message }) => message);
      if (kept.problem !== null) problems.push(kept.problem);
      for (const problem of problems) log.error({ problem }, "instances planned");
      this.#planProblem = problems.join("; ") || null;
      this.#plans = kept.plans;
      this.#isPlanComplete = kept.isComplete;
    }
    this.#beside = attachedBeside(attached, this.#plans);
    for (const note of this.#beside.notes) log.warn({ note }, "a ComfyUI is not attached");
  }

  async #bringToRelease(signal: AbortSignal): Promise<void> {
    const { installation, agent, onSources } = this.#options;
    const release = (await this.#installer?.current()) ?? null;
    const status = await this.#installer?.status();
    const { lock = null, hold = null, damage = null, previous = null } = status ?? {};
    signal.throwIfAborted();
    this.#release = release;
    this.#lock = lock;
    installation.note({ serving: release?.id ?? null, hold, damage });
    await this.#lookForModels();
    this.#declare();
    const seen = seenInstances(this.#supervisor.statuses());
    this.#given = null;
    await this.#supervisor.setDesired(this.#plans, release, this.#isPlanComplete);
    this.#given = release;
    if (release !== null) this.#switchedTo(release.id, previous, seen);
    this.#keeper.planned(this.#plans.map(({ name }) => name));
    agent.refreshInventories();
    onSources();
  }

  #switchedTo(release: string, previous: string | null, seen: SeenInstances): void {
    const from = this.#lastGiven;
    this.#lastGiven = release;
    if (from === release) return;
    this.#keeper.switched(wayBack(from, release, previous), release, seen);
  }

  /** Tells the runner which instances there are; those that are gone may end what they run. */
  #declare(): void {
    const { agent, log } = this.#options;
    this.#places = this.#placesText();
    const served = this.#served().map(({ name, url }) => ({
      url,
      name,
      promise: this.#promiseOf(name),
    }));
    agent.setInstances([...this.#beside.attached, ...served]).catch((err: unknown) => {
      log.error({ err }, "instances could not be declared");
    });
  }

  /**
   * Where each instance is reached now: jobs in it are where it was started, not where it will be. One
   * without a process is at its planned address, unless another runs there still: the runner would take
   * the two for one.
   */
  #served(): readonly { readonly name: string; readonly url: string }[] {
    const statuses = new Map(this.#supervisor.statuses().map((one) => [one.name, one]));
    const addressOf = (name: string, plannedUrl: string): InstanceAddress => {
      const status = statuses.get(name);
      const isThere = status !== undefined && status.runtime.pid !== null;
      return { name, plannedUrl, processUrl: isThere ? status.url : null };
    };
    const planned = this.#plans.map(({ name, url }) => addressOf(name, url));
    const isPlanned = (name: string): boolean => planned.some((one) => one.name === name);
    // Those that are on their way out have their addresses until they have ended.
    const leaving = [...statuses.values()]
      .filter(({ name }) => !isPlanned(name))
      .map(({ name, plan }) => addressOf(name, plan.url));
    const all = [...planned, ...leaving];
    return planned
      .map(({ name, plannedUrl, processUrl }) => ({ name, url: processUrl ?? plannedUrl }))
      .filter(({ name, url }) => instanceAt(all, url)?.name === name);
  }

  #placesText(): string {
    return this.#served()
      .map(({ name, url }) => `${name} ${url}`)
      .join(" ");
  }

  #promiseOf(name: string): InventoryPromise {
    // S2: while instances are started anew one by one, those of before go on.
    return promiseOf(() =>
      this.#supervisor.status(name)?.isCurrent === true ? this.#given : null,
    );
  }

  async #lookForModels(): Promise<void> {
    if (this.#manifest === null) return;
    this.#presentModels = await findPresentModels(this.#manifest, this.#options.places);
  }

  /** Never rejects. */
  async #setExtras({ services }: Manifest): Promise<void> {
    const replacing = this.#extras.replace(services);
    this.#options.onSources();
    await replacing.catch((err: unknown) => {
      this.#options.log.error({ err }, "services of the manifest before could not be ended");
    });
    await this.#extras.start();
  }

  #onInstances(): void {
    const statuses = this.#supervisor.statuses();
    if (this.#given !== null) {
      this.#keeper.looked(
        statuses.map(({ name, isCurrent, check, isHindered }) => ({
          name,
          isHealthy: isCurrent && check.state === "passing",
          isHindered,
        })),
      );
    }
    // One was adopted where it ran before, or is started where it is to be.
    if (this.#places !== this.#placesText()) this.#declare();
    const names = statuses.map(({ name }) => name).join(" ");
    const isSame = names === this.#names;
    this.#names = names;
    if (isSame) this.#options.onChange();
    else this.#options.onSources();
  }
}
