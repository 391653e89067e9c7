/**
 * A machine: everything that stands between a bare host and ComfyUI instances that jobs can be given to.
 *
 * M1  The health server answers first, and whatever else fails.
 * M2  What ran before goes on: a manifest that is wrong, a network that is away, an installation that
 *     fails change nothing that serves.
 * M3  Jobs are taken for instances that have proved themselves, one by one; the machine goes on with the
 *     healthy part.
 * M4  A release that does not work in earnest is left again: the one before serves on.
 */
import { mkdir, readlink, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { createAgent, type Agent } from "@holdfast/agent";
import { createGpuQuery } from "../gpu/query-gpus.ts";
import { createHealthServer, type HealthServer } from "../health-server/health-server.ts";
import type { Listening } from "../health-server/listen.ts";
import type { MachineFacts } from "../health-server/model.ts";
import { saveTextAtomically } from "../install/models/atomic-file.ts";
import { machinePlaces, type MachinePlaces } from "../machine-places.ts";
import { COMFYUI_SERVICE } from "../instances/instance-services.ts";
import { notConfiguredSource } from "../services/fixed-facts.ts";
import { createServiceRegistry, type ServiceRegistry } from "../services/service-registry.ts";
import { openTransitionJournal } from "../services/transition-journal.ts";
import { attachedSources } from "./attached-services.ts";
import { createGpuWatch, type GpuWatch } from "./gpu-watch.ts";
import { readHostFacts } from "./host-facts.ts";
import { createInstallerParts } from "./installer-parts.ts";
import { Installation } from "./installation.ts";
import { careForLogs } from "./log-care.ts";
import type { Machine, MachineOptions } from "./machine-options.ts";
import { toOwnReport, type HostFacts } from "./machine-report.ts";
import { createManifestWatch, type ManifestLook, type ManifestWatch } from "./manifest-watch.ts";
import { ServingMachine } from "./serving-machine.ts";

const WATCH_EVERY_MS = 2_000;
/** Free space and memory are told this often. */
const HOST_FACTS_EVERY_MS = 60_000;
/** An installer at the command line may take its time. */
const LOCK_WAIT_MS = 5_000;

/** Makes a machine; see the head of this file. */
export function createMachine(options: MachineOptions): Machine {
  return new HostedMachine(options);
}

class HostedMachine implements Machine {
  readonly name = "machine";
  readonly agent: Agent;
  readonly #options: MachineOptions;
  readonly #places: MachinePlaces;
  readonly #manifests: ManifestWatch;
  readonly #installation: Installation;
  readonly #gpus: GpuWatch;
  readonly #stopping = new AbortController();
  #health: HealthServer | undefined;
  #registry: ServiceRegistry | undefined;
  #look: ManifestLook = { applied: null, problems: [] };
  #serving: ServingMachine | undefined;
  #host: HostFacts | undefined;
  #problem: string | null = null;
  #work: Promise<unknown> = Promise.resolve();
  #started: Promise<void> | undefined;
  #ended: Promise<void> | undefined;

  constructor(options: MachineOptions) {
    this.#options = options;
    const { clock, random, log } = options;
    this.#places = machinePlaces(options.root);
    this.#manifests = createManifestWatch({
      path: options.manifestPath,
      isNamed: options.isManifestNamed,
      keptAt: this.#places.appliedManifest,
      log,
    });
    const onChange = (): void => this.#touch();
    const query = createGpuQuery({
      clock,
      ...(options.programs.nvidiaSmi === null ? {} : { program: options.programs.nvidiaSmi }),
    });
    this.#gpus = createGpuWatch({ query, clock, log, onChange });
    this.#installation = new Installation({
      clock,
      random,
      log,
      onChange,
      onEvent: options.onInstallEvent,
      tellRun: (run) => this.agent.tellRun(run),
    });
    this.agent = createAgent({
      link: options.link,
      instances: options.attached,
      stateDir: options.stateDir,
      machineName: options.machineName,
      clock,
      random,
      log,
      ...(options.failpoints === undefined ? {} : { failpoints: options.failpoints }),
      control: {
        canRestart: (url) => this.#serving?.isOurs(url) ?? false,
        restart: async (url, reason, signal) => {
          if (this.#serving === undefined) throw new Error("no instance is supervised here");
          await this.#serving.restart(url, reason, signal as AbortSignal);
        },
      },
      report: () => this.#report(),
      onModelsWanted: async (models, signal) => {
        if (this.#serving === undefined) throw new Error("this machine has no manifest");
        for (const model of models) await this.#serving.fetchModel(model, signal);
      },
    });
  }

  start(): Promise<void> {
    this.#started ??= this.#start();
    return this.#started;
  }

  stop(): Promise<void> {
    this.#ended ??= this.#end("stop");
    return this.#ended;
  }

  leave(): Promise<void> {
    this.#ended ??= this.#end("leave");
    return this.#ended;
  }

  drain(withinMs: number): Promise<boolean> {
    return this.agent.drain(withinMs);
  }

  listening(): Listening | undefined {
    return this.#health?.listening();
  }

  async #start(): Promise<void> {
    const { clock, random, log, health, version, machineName, onListening } = this.#options;
    this.#look = await this.#manifests.load();
    const wanted = this.#look.applied?.manifest.health;
    // M1: before anything that could fail or take its time.
    this.#health = createHealthServer({
      address: {
        host: health.host ?? wanted?.host ?? "127.0.0.1",
        port: health.port ?? wanted?.port,
        tokenFile: health.tokenFile ?? wanted?.tokenFile,
      },
      version,
      machineName,
      clock,
      random,
      log,
      ...(onListening === undefined ? {} : { onListening }),
    });
    await this.#health.start();
    await this.#leaveAddress();
    const journal = await openTransitionJournal({ file: this.#places.transitions, log });
    this.#registry = createServiceRegistry({ clock, log, journal });
    this.#registry.subscribe(() => this.agent.reportMachine());
    this.#installation.note({ isConfigured: this.#look.applied !== null, serving: null });
    this.#publish();
    await this.#registry.start();
    this.#health.attach({ services: this.#registry, facts: () => this.#facts() });
    await this.agent.start();
    this.#work = this.#run();
  }

  /** For `holdfast machine status`, which asks whoever runs on this folder. */
  async #leaveAddress(): Promise<void> {
    const { healthAddress, root } = this.#places;
    const listening = this.listening();
    try {
      await mkdir(root, { recursive: true });
      await saveTextAtomically(
        healthAddress,
        JSON.stringify({ url: listening?.url, pid: process.pid }),
      );
    } catch (err) {
      this.#options.log.warn({ err }, "address of the health server could not be written down");
    }
  }

  async #end(how: "leave" | "stop"): Promise<void> {
    await this.#started?.catch(() => undefined); // Whoever called `start` was told.
    this.#stopping.abort(new Error("the machine is being stopped"));
    await this.#work;
    const failures: unknown[] = [];
    const attempt = async (end: () => Promise<unknown> | undefined): Promise<void> => {
      try {
        await end();
      } catch (error) {
        failures.push(error);
      }
    };
    // The agent first brings home what runs: the drain of the instances needs it.
    await attempt(() => (how === "stop" ? this.#serving?.stop() : this.#serving?.leave()));
    await attempt(() => this.agent.stop());
    await attempt(() => this.#registry?.stop());
    await attempt(() => this.#health?.stop());
    await attempt(() => rm(this.#places.healthAddress, { force: true }));
    if (failures.length > 0) throw new AggregateError(failures, "the machine did not stop cleanly");
  }

  /** Everything after the start: install, serve, notice changes. */
  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const { clock, log } = this.#options;
    await Promise.all([
      this.#gpus.run(signal),
      this.#watchHost(signal),
      careForLogs({ files: () => this.#logFiles(), clock, log }, signal),
      this.#follow(signal).catch((err: unknown) => {
        if (!signal.aborted) this.#options.log.error({ err }, "the machine cannot go on");
      }),
    ]);
  }

  /** What the processes of this machine write, PM2's own log too; the installer keeps its own. */
  #logFiles(): readonly string[] {
    const sources = this.#serving?.sources() ?? [];
    const own = sources.flatMap((source) => source.logFiles());
    return own.length === 0 ? [] : [...own, join(this.#places.pm2Home, "pm2.log")];
  }

  /** Serves by one manifest after the other. */
  async #follow(signal: AbortSignal): Promise<void> {
    for (;;) {
      const changed = new AbortController();
      const over = AbortSignal.any([signal, changed.signal]);
      await Promise.all([
        this.#serve(over).catch((err: unknown) => this.#onTrouble(err, over)),
        this.#untilChanged(signal).then(() => changed.abort(new Error("the manifest has changed"))),
      ]);
      signal.throwIfAborted();
      this.#look = await this.#manifests.load();
      this.#options.log.info({ manifest: this.#look.applied?.digest ?? null }, "manifest applied");
    }
  }

  #onTrouble(err: unknown, signal: AbortSignal): void {
    if (signal.aborted) return;
    const { message } = err as Error;
    this.#options.log.error({ err }, "the machine cannot be brought to its manifest");
    this.#problem = message;
    this.#installation.refuse(message);
    this.#publish();
  }

  /** Brings the machine to the manifest that is applied, until the signal. */
  async #serve(signal: AbortSignal): Promise<void> {
    const { applied } = this.#look;
    this.#problem = null;
    if (applied === null) {
      this.#installation.note({ isConfigured: false, serving: null });
      await this.#serving?.setManifest(null, undefined, signal);
      this.#publish();
      return;
    }
    const { clock, random, log, programs, env } = this.#options;
    // What serves by the manifest before goes on doing so.
    const serving = this.#serving?.release()?.id ?? null;
    this.#installation.note({ isConfigured: true, serving });
    await mkdir(this.#places.root, { recursive: true });
    const parts = await createInstallerParts(applied, {
      places: this.#places,
      programs,
      env,
      gpus: createGpuQuery({
        clock,
        ...(programs.nvidiaSmi === null ? {} : { program: programs.nvidiaSmi }),
      }),
      clock,
      random,
      log,
      lockWaitMs: LOCK_WAIT_MS,
    });
    try {
      this.#serving ??= this.#createServing();
      await this.#serving.setManifest(applied, parts, signal);
      this.#publish();
      const onRelease = async (): Promise<void> => {
        await this.#serving?.refreshRelease(signal);
        this.#publish();
      };
      await this.#installation.untilInstalled(parts.installer, onRelease, signal);
      await this.#followReleases(onRelease, signal);
    } finally {
      await parts.close();
    }
  }

  #createServing(): ServingMachine {
    const { clock, random, log, env, programs, attached } = this.#options;
    return new ServingMachine({
      places: this.#places,
      home: env["HOME"] ?? homedir(),
      env,
      programs,
      clock,
      random,
      log,
      agent: this.agent,
      attached,
      gpus: this.#gpus,
      hasAmdGpu: async () => (await stat("/dev/kfd").catch(() => undefined)) !== undefined,
      healthPort: () => this.#health?.listening()?.port ?? null,
      serviceState: (name) => this.#registry?.report(name)?.state,
      installation: this.#installation,
      onChange: () => this.#touch(),
      onSources: () => this.#publish(),
    });
  }

  /** Another release serves as soon as the link says so: somebody updated or rolled back by hand. */
  async #followReleases(onRelease: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const linked = (): Promise<string> => readlink(this.#places.current).catch(() => "");
    let seen = await linked();
    for (;;) {
      await this.#options.clock.sleep(this.#options.watchEveryMs ?? WATCH_EVERY_MS, signal);
      const now = await linked();
      if (now === seen) continue;
      seen = now;
      await onRelease();
    }
  }

  /** Resolves when the manifest that the installer applied is another one, or the signal is aborted. */
  async #untilChanged(signal: AbortSignal): Promise<void> {
    const seen = await this.#appliedSign();
    const { clock, watchEveryMs = WATCH_EVERY_MS } = this.#options;
    while (!signal.aborted) {
      await clock.sleep(watchEveryMs, signal).catch(() => undefined);
      if ((await this.#appliedSign()) !== seen) return;
      await this.#noteChange();
    }
  }

  async #appliedSign(): Promise<string> {
    const facts = await stat(this.#places.appliedManifest, { bigint: true }).catch(() => undefined);
    return facts === undefined ? "" : `${facts.ino}:${facts.mtimeNs}`;
  }

  /** Says that the file is newer than what is applied: it is applied when somebody asks for it. */
  async #noteChange(): Promise<void> {
    const isChanged = await this.#manifests.isChanged();
    const note = `${this.#options.manifestPath} has changed since it was applied: run holdfast machine install, or start the agent anew`;
    const has = this.#look.problems.includes(note);
    if (isChanged === has) return;
    const rest = this.#look.problems.filter((line) => line !== note);
    this.#look = { ...this.#look, problems: isChanged ? [...rest, note] : rest };
    if (isChanged) this.#options.log.warn({ path: this.#options.manifestPath }, note);
  }

  async #watchHost(signal: AbortSignal): Promise<void> {
    const folder = this.#places.root;
    while (!signal.aborted) {
      this.#host = await readHostFacts(folder);
      await this.#options.clock.sleep(HOST_FACTS_EVERY_MS, signal).catch(() => undefined);
    }
  }

  /** The services that there are now. */
  #publish(): void {
    const { applied, problems } = this.#look;
    const why =
      applied === null
        ? (problems[0] ?? `there is no ${this.#options.manifestPath}`)
        : "machine.yaml names no ComfyUI";
    const own =
      applied === null
        ? [notConfiguredSource(COMFYUI_SERVICE, "comfyui", why)]
        : [this.#installation.source(), ...(this.#serving?.sources() ?? [])];
    const { attached, clock } = this.#options;
    this.#registry?.replace([...own, ...attachedSources(attached, this.agent, () => clock.now())]);
    this.#touch();
  }

  #touch(): void {
    this.#registry?.touch();
    this.agent.reportMachine();
  }

  #facts(): MachineFacts {
    const { machineName, controlPlaneUrl, manifestPath } = this.#options;
    const { machineId, isRegistered } = this.agent.status();
    const { applied, problems } = this.#look;
    return {
      machineId,
      name: machineName,
      gpus: [...this.#gpus.facts()],
      controlPlane: {
        state: controlPlaneUrl === null ? "none" : isRegistered ? "connected" : "connecting",
        url: controlPlaneUrl,
        detail: null,
      },
      release: this.#serving?.release()?.id ?? null,
      manifest: {
        path: applied === null && problems.length === 0 ? null : manifestPath,
        problems: [...problems, ...(this.#problem === null ? [] : [this.#problem])],
      },
    };
  }

  #report(): ReturnType<typeof toOwnReport> | undefined {
    if (this.#host === undefined || this.#registry === undefined) return undefined;
    const { applied } = this.#look;
    return toOwnReport({
      services: this.#registry.reports(),
      gpus: this.#gpus.told(),
      lock: this.#serving?.lock() ?? null,
      manifest: applied?.manifest ?? null,
      manifestDigest: applied?.digest ?? null,
      presentModels: this.#serving?.presentModels() ?? new Set(),
      host: this.#host,
      healthPort: this.#health?.listening()?.port ?? null,
    });
  }
}

/** Folder of a machine below a home folder, unless a setting names another. */
export function defaultMachineRoot(home: string): string {
  return join(home, "machine");
}
