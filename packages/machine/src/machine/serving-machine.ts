/**
 * What of a machine serves: the instances under their supervisor, and the services beside them. It is
 * given a manifest and a release, one after the other, and brings what runs to them without stopping
 * what need not be stopped.
 */
import { access } from "node:fs/promises";
import { join } from "node:path";
import type { Agent, AgentLog, ServedInstance } from "@holdfast/agent";
import type { Clock, Random } from "@holdfast/runtime";
import type { GpuDiscovery } from "../gpu/model.ts";
import type { MachineLock } from "../install/model.ts";
import { modelRoot } from "../install/models/model-steps.ts";
import type { ModelName } from "../install/models/model-target.ts";
import { HostLocks, lockFolders } from "../instances/host-locks.ts";
import { createInstanceServices } from "../instances/instance-services.ts";
import { linuxProcesses } from "../instances/linux-processes.ts";
import type { InstancePlan, Release } from "../instances/model.ts";
import { planInstances } from "../instances/plan-instances.ts";
import type { ReleaseFailure } from "../instances/supervisor-options.ts";
import { Supervisor } from "../instances/supervisor.ts";
import type { MachinePlaces } from "../machine-places.ts";
import type { Manifest } from "../manifest/model.ts";
import { createExitExplainer } from "../process-manager/exit-evidence.ts";
import type { ProcessManager } from "../process-manager/model.ts";
import { createPm2ProcessManager } from "../process-manager/pm2-process-manager.ts";
import { createExtraServices, type ExtraServices } from "../services/extra-services.ts";
import type { ServiceSource, ServiceState } from "../services/model.ts";
import { createHttpProbe } from "../services/probe.ts";
import { createProcessHost } from "../services/process-host.ts";
import type { GpuWatch } from "./gpu-watch.ts";
import type { Installation } from "./installation.ts";
import type { InstallerParts } from "./installer-parts.ts";
import type { MachinePrograms } from "./machine-options.ts";
import type { ReadManifest } from "./manifest-watch.ts";
import { owedRelease, promiseOf } from "./release-promise.ts";

/** What it is made of. */
export interface ServingMachineOptions {
  readonly places: MachinePlaces;
  /** Home folder of the account. */
  readonly home: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly programs: MachinePrograms;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  readonly agent: Agent;
  /** Served beside the machine's own instances. */
  readonly attached: readonly ServedInstance[];
  readonly gpus: GpuWatch;
  readonly hasAmdGpu: () => Promise<boolean>;
  readonly healthPort: () => number | null;
  readonly serviceState: (name: string) => ServiceState | undefined;
  readonly installation: Installation;
  /** Something that is shown has changed. */
  readonly onChange: () => void;
  /** There are other services than before. */
  readonly onSources: () => void;
}

/** What an ill start of the process manager may take at the end. */
const KILL_MANAGER_MS = 30_000;

/** See the head of this file. */
export class ServingMachine {
  readonly #options: ServingMachineOptions;
  readonly #manager: ProcessManager;
  readonly #supervisor: Supervisor;
  readonly #instances: ReturnType<typeof createInstanceServices>;
  #manifest: Manifest | null = null;
  #parts: InstallerParts | undefined;
  #plans: readonly InstancePlan[] = [];
  #planProblem: string | null = null;
  #release: Release | null = null;
  #lock: MachineLock | null = null;
  #presentModels: ReadonlySet<string> = new Set();
  #extras: ExtraServices | undefined;
  #extrasText = "";
  /** Release that served before the one that serves now, while this program has run. */
  #before: string | null = null;
  readonly #left = new Set<string>();

  constructor(options: ServingMachineOptions) {
    this.#options = options;
    const { places, programs, env, clock, random, log, home, agent } = options;
    this.#manager = createPm2ProcessManager({
      machine: places.root,
      pm2Home: places.pm2Home,
      tools: places.tools,
      ownPm2: programs.pm2,
      env,
      clock,
      log,
    });
    const host = linuxProcesses(places.root, clock);
    this.#supervisor = new Supervisor({
      places,
      account: { home },
      clock,
      random,
      log,
      manager: this.#manager,
      exits: createExitExplainer(places.pm2Home),
      host,
      runner: {
        health: (url) => agent.instanceHealth(url),
        pause: (url, withinMs, signal) => agent.pauseInstance(url, withinMs, signal),
        resume: (url) => agent.resumeInstance(url),
      },
      locks: new HostLocks({
        folders: lockFolders(),
        root: places.root,
        clock,
        host,
        pid: process.pid,
      }),
      onChange: () => options.onChange(),
      onReleaseFailed: (failure) => void this.#leaveRelease(failure),
    });
    this.#instances = createInstanceServices({
      places,
      isConfigured: () => this.#manifest?.comfyui !== undefined,
      installation: () => options.installation.status(),
      statuses: () => this.#supervisor.statuses(),
      status: (name) => this.#supervisor.status(name),
      planProblem: () => this.#planProblem,
    });
  }

  /** Sources of all services but the installer. */
  sources(): readonly ServiceSource[] {
    return [
      this.#instances.aggregate,
      ...this.#instances.instances(),
      ...(this.#extras?.sources ?? []),
    ];
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

  isOurs(url: string): boolean {
    return this.#plans.some((plan) => plan.url === url);
  }

  async restart(url: string, reason: string, signal: AbortSignal): Promise<void> {
    await this.#supervisor.restart(url, reason, signal);
  }

  /** Brings what serves to a manifest; null: to none, and what ran ends. */
  async setManifest(
    applied: ReadManifest | null,
    parts: InstallerParts | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    this.#manifest = applied?.manifest ?? null;
    this.#parts = parts;
    await this.#plan(signal);
    await this.#supervisor.start();
    await this.refreshRelease(signal);
    await this.#setExtras();
  }

  /** Serves by the release that the link names now. */
  async refreshRelease(signal: AbortSignal): Promise<void> {
    const installer = this.#parts?.installer;
    const release = (await installer?.current()) ?? null;
    this.#lock = (await installer?.status())?.lock ?? null;
    signal.throwIfAborted();
    if (this.#release !== null && this.#release.id !== release?.id) this.#before = this.#release.id;
    this.#release = release;
    const { installation } = this.#options;
    installation.note({ isConfigured: this.#manifest !== null, serving: release?.id ?? null });
    await this.#lookForModels();
    this.#declare();
    await this.#supervisor.setDesired(this.#plans, release);
    this.#options.agent.refreshInventories();
    this.#options.onSources();
  }

  /** Fetches a model that the manifest names; throws in words. */
  async fetchModel(name: ModelName, signal: AbortSignal): Promise<void> {
    if (this.#parts === undefined) throw new Error("this machine has no manifest");
    await this.#parts.fetch(name, signal);
    await this.#lookForModels();
    this.#options.onChange();
  }

  /** Drains and ends everything. */
  async stop(): Promise<void> {
    const failures: unknown[] = [];
    for (const end of [() => this.#supervisor.stop(), () => this.#extras?.stop()]) {
      await Promise.resolve(end()).catch((error: unknown) => failures.push(error));
    }
    const limit = AbortSignal.timeout(KILL_MANAGER_MS);
    // Whatever is left under it is somebody's whom we could not end: then it stays.
    if (failures.length === 0) {
      await this.#manager.kill(limit).catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw new AggregateError(failures, "not everything could be ended");
  }

  /** Leaves everything running, for the next agent. */
  async leave(): Promise<void> {
    await this.#supervisor.leave();
    await this.#extras?.letGo();
  }

  async #plan(signal: AbortSignal): Promise<void> {
    this.#planProblem = null;
    if (this.#manifest?.comfyui === undefined) {
      this.#plans = [];
      return;
    }
    const { gpus, healthPort, hasAmdGpu, log } = this.#options;
    const found: GpuDiscovery = await gpus.discover(signal);
    const port = healthPort();
    const { instances, problems, warnings } = planInstances({
      wanted: this.#manifest.instances,
      found,
      reservedPorts: port === null ? [] : [port],
      hasAmdGpu: await hasAmdGpu(),
    });
    for (const { message } of warnings) log.warn({ warning: message }, "instances planned");
    for (const { message } of problems) log.error({ problem: message }, "instances planned");
    if (problems.length > 0) this.#planProblem = problems.map(({ message }) => message).join("; ");
    this.#plans = instances;
  }

  /** Tells the runner which instances there are; those that are gone may end what they run. */
  #declare(): void {
    const { agent, attached, log } = this.#options;
    const served = this.#plans.map(({ url, name }) => ({
      url,
      name,
      promise: promiseOf(() =>
        owedRelease(this.#release, this.#supervisor.status(name)?.digest ?? null),
      ),
    }));
    agent.setInstances([...attached, ...served]).catch((err: unknown) => {
      log.error({ err }, "instances could not be declared");
    });
  }

  async #lookForModels(): Promise<void> {
    const manifest = this.#manifest;
    if (manifest === null) return;
    const root = modelRoot(manifest, this.#options.places);
    const present = new Set<string>();
    for (const { folder, name } of manifest.models) {
      const isThere = await access(join(root, folder, name)).then(
        () => true,
        () => false,
      );
      if (isThere) present.add(`${folder}/${name}`);
    }
    this.#presentModels = present;
  }

  async #setExtras(): Promise<void> {
    const services = this.#manifest?.services ?? [];
    const text = JSON.stringify(services);
    if (text === this.#extrasText) return;
    this.#extrasText = text;
    await this.#extras?.stop();
    const { places, clock, random, log, env, home, serviceState, onChange } = this.#options;
    const path = env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin";
    this.#extras = createExtraServices({
      services,
      probe: createHttpProbe(clock),
      manager: this.#manager,
      host: createProcessHost(clock, path),
      clock,
      random,
      log,
      folder: places.services,
      baseEnv: { PATH: path, HOME: home, LANG: "C.UTF-8" },
      stateOf: serviceState,
      onChange,
    });
    this.#options.onSources();
    await this.#extras.start();
  }

  /** A release that did not work in earnest is left again (M4), once. */
  async #leaveRelease(failure: ReleaseFailure): Promise<void> {
    const { log, installation } = this.#options;
    log.error({ ...failure }, "an instance did not become healthy on its release");
    const installer = this.#parts?.installer;
    const isNew = this.#before !== null && this.#before !== failure.release;
    if (!isNew || installer === undefined || this.#left.has(failure.release)) return;
    if (this.#release?.id !== failure.release) return;
    this.#left.add(failure.release);
    try {
      const outcome = await installer.rollback();
      if (outcome.kind !== "rolled_back") {
        log.error({ outcome }, "the release before could not be taken again");
        return;
      }
      await this.refreshRelease(new AbortController().signal);
      installation.refuse(
        `release ${failure.release} did not work: ${failure.instance}: ${failure.reason}. Release ${outcome.to} serves again; holdfast machine install tries once more`,
      );
    } catch (err) {
      log.error({ err }, "the release before could not be taken again");
    }
  }
}
