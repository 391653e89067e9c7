/**
 * A machine: everything that stands between a bare host and ComfyUI instances that jobs can be given to.
 *
 * M1  The health server answers first, and whatever else fails.
 * M2  What ran before goes on: a manifest that is wrong, a network that is away, an installation that
 *     fails change nothing that serves.
 * M3  Jobs are taken for instances that have proved themselves, one by one; the machine goes on with the
 *     healthy part.
 * M4  A release that does not work in earnest is left again: the one before serves on.
 * M5  One agent at a time runs what is in a machine folder; another one waits for it, and says so.
 */
import { readlink } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { Agent } from "@holdfast/agent";
import { createHealthServer, type HealthServer } from "../health-server/health-server.ts";
import type { Listening } from "../health-server/listen.ts";
import { openReleases } from "../install/release/releases.ts";
import { machinePlaces, type MachinePlaces } from "../machine-places.ts";
import { createServiceRegistry, type ServiceRegistry } from "../services/service-registry.ts";
import { openTransitionJournal } from "../services/transition-journal.ts";
import { attachedBeside } from "./attached-services.ts";
import { endAll, throwFailures } from "./end-all.ts";
import { FolderOwner } from "./folder-owner.ts";
import { createGpuWatch, type GpuWatch } from "./gpu-watch.ts";
import { leaveHealthAddress, removeHealthAddress } from "./health-address.ts";
import { Installation } from "./installation.ts";
import { careForLogs } from "./log-care.ts";
import type { Machine, MachineOptions } from "./machine-options.ts";
import { MachineTelling } from "./machine-telling.ts";
import { hostRooms, type MachineRooms } from "./machine-rooms.ts";
import { ManifestFollower } from "./manifest-follower.ts";
import { createManifestWatch, type ManifestLook, type ManifestWatch } from "./manifest-watch.ts";
import { ServingMachine } from "./serving-machine.ts";

const WATCH_EVERY_MS = 2_000;
/** Free space and memory are told this often. */
const HOST_FACTS_EVERY_MS = 60_000;
/** An installer at the command line may take its time. */
const LOCK_WAIT_MS = 5_000;

/** Makes a machine; see the head of this file. `rooms` take the place of parts of the host. */
export function createMachine(options: MachineOptions, rooms?: Partial<MachineRooms>): Machine {
  return new HostedMachine(options, { ...hostRooms(options), ...rooms });
}

/** Folder of a machine below a home folder, unless a setting names another. */
export function defaultMachineRoot(home: string): string {
  return join(home, "machine");
}

class HostedMachine implements Machine {
  readonly name = "machine";
  readonly agent: Agent;
  readonly #options: MachineOptions;
  readonly #rooms: MachineRooms;
  readonly #places: MachinePlaces;
  readonly #manifests: ManifestWatch;
  readonly #owner: FolderOwner;
  readonly #installation: Installation;
  readonly #gpus: GpuWatch;
  readonly #telling: MachineTelling;
  readonly #stopping = new AbortController();
  #health: HealthServer | undefined;
  #registry: ServiceRegistry | undefined;
  #serving: ServingMachine | undefined;
  #look: ManifestLook = { applied: null, problems: [] };
  /** Why the machine folder is another agent's; null when it is ours, or we need none. */
  #held: string | null = null;
  /** The address of the health server is in the machine folder. */
  #hasAddress = false;
  #work: Promise<unknown> = Promise.resolve();
  #started: Promise<void> | undefined;
  #ended: Promise<void> | undefined;

  constructor(options: MachineOptions, rooms: MachineRooms) {
    this.#options = options;
    this.#rooms = rooms;
    const { clock, random, log, root, manifestPath, isManifestNamed } = options;
    this.#places = machinePlaces(root);
    const keptAt = this.#places.appliedManifest;
    const named = { path: manifestPath, isNamed: isManifestNamed };
    const hasRelease = async (): Promise<boolean> => (await servingId(this.#places)) !== undefined;
    this.#manifests = createManifestWatch({ ...named, keptAt, hasRelease, clock, log });
    const tryLock = () => rooms.lockFolder(this.#places.agentLock, clock);
    this.#owner = new FolderOwner({ root, tryLock, clock, log });
    const onChange = (): void => this.#telling.touch();
    this.#gpus = createGpuWatch({
      query: rooms.gpus,
      clock,
      log,
      onChange,
      onFound: () => this.#replan(),
    });
    this.#installation = new Installation({
      clock,
      random,
      log,
      onChange,
      onEvent: options.onInstallEvent,
      tellRun: (run) => this.agent.tellRun(run),
    });
    this.#telling = new MachineTelling({
      options,
      agent: () => this.agent,
      gpus: this.#gpus,
      installation: this.#installation,
      serving: () => this.#serving,
      healthPort: () => this.listening()?.port ?? null,
    });
    this.agent = this.#makeAgent();
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

  #makeAgent(): Agent {
    const { link, stateDir, machineName, clock, random, log, failpoints } = this.#options;
    return this.#rooms.makeAgent({
      link,
      instances: attachedBeside(this.#options.attached, []).attached,
      stateDir,
      machineName,
      clock,
      random,
      log,
      ...(failpoints === undefined ? {} : { failpoints }),
      control: {
        canRestart: (url) => this.#serving?.isOurs(url) ?? false,
        restart: async (url, reason, signal) => {
          if (this.#serving === undefined) throw new Error("no instance is supervised here");
          await this.#serving.restart(url, reason, signal as AbortSignal);
        },
      },
      report: () => this.#telling.report(),
      onModelsWanted: async (models, signal) => {
        if (this.#serving === undefined) throw new Error("this machine has no manifest");
        for (const model of models) await this.#serving.fetchModel(model, signal);
      },
    });
  }

  async #start(): Promise<void> {
    if (this.#ended !== undefined) throw new Error("this machine was stopped: make another one");
    try {
      await this.#open();
    } catch (error) {
      // Whoever called is told why it did not start; what did not end is of less use to him.
      for (const err of await this.#endParts("leave")) {
        this.#options.log.error({ err }, "a start that failed could not be undone");
      }
      throw error;
    }
    this.#work = this.#run();
  }

  async #open(): Promise<void> {
    const { clock, log } = this.#options;
    this.#look = await this.#manifests.peek();
    if (this.#look.applied !== null) {
      this.#held = await this.#owner.tryTake(); // M5
      if (this.#held === null) this.#look = await this.#manifests.load();
    }
    // Reading alone, and none of it fails: the first answer is to be true already.
    const isConfigured = this.#look.applied !== null;
    const serving = isConfigured ? ((await servingId(this.#places)) ?? null) : null;
    this.#installation.note({ isConfigured, serving });
    const journal = await openTransitionJournal({ file: this.#places.transitions, log });
    this.#registry = createServiceRegistry({
      clock,
      log,
      journal: {
        ...journal,
        // The file tells of whoever has the folder.
        append: (entry) => {
          if (this.#held === null) journal.append(entry);
        },
      },
    });
    this.#telling.noteHeld(this.#held);
    this.#telling.begin(this.#registry, this.#look);
    // M1: before anything that could fail or take its time.
    this.#health = this.#createHealthServer();
    this.#health.attach({ services: this.#registry, facts: () => this.#telling.facts() });
    await this.#health.start();
    await this.#leaveAddress();
    await this.#registry.start();
    await this.agent.start();
  }

  #createHealthServer(): HealthServer {
    const { clock, random, log, health, version, machineName, onListening } = this.#options;
    const wanted = this.#look.applied?.manifest.health;
    return createHealthServer({
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
  }

  /** For `holdfast machine status`, which asks whoever runs on this folder. */
  async #leaveAddress(): Promise<void> {
    const url = this.listening()?.url;
    if (url === undefined || !(await this.#owner.isFree())) return;
    try {
      await leaveHealthAddress(this.#places.healthAddress, { url, pid: process.pid });
      this.#hasAddress = true;
    } catch (err) {
      this.#options.log.warn({ err }, "address of the health server could not be written down");
    }
  }

  async #takeAddress(): Promise<void> {
    if (this.#hasAddress) await removeHealthAddress(this.#places.healthAddress, process.pid);
  }

  async #end(how: "leave" | "stop"): Promise<void> {
    this.#stopping.abort(new Error("the machine is being stopped"));
    await this.#started?.catch(() => undefined); // Whoever called `start` was told.
    await this.#work;
    throwFailures("the machine did not stop cleanly", await this.#endParts(how));
  }

  async #endParts(how: "leave" | "stop"): Promise<readonly unknown[]> {
    return await endAll(
      // The agent first brings home what runs: the drain of the instances needs it.
      async () => await (how === "stop" ? this.#serving?.stop() : this.#serving?.leave()),
      () => this.agent.stop(),
      async () => await this.#registry?.stop(),
      async () => await this.#health?.stop(),
      () => this.#takeAddress(),
      () => this.#owner.release(),
    );
  }

  /** Everything after the start; never rejects. */
  async #run(): Promise<void> {
    const { clock, random, log, watchEveryMs = WATCH_EVERY_MS } = this.#options;
    const follower = new ManifestFollower({
      manifests: this.#manifests,
      linked: () => readlink(this.#places.current).catch(() => ""),
      installation: this.#installation,
      own: (over) => this.#own(over),
      serving: () => (this.#serving ??= this.#createServing()),
      makeParts: (applied) => this.#makeParts(applied),
      clock,
      random,
      log,
      watchEveryMs,
      onLook: (look) => this.#telling.noteLook(look),
      onTrouble: (problem) => this.#telling.noteTrouble(problem),
    });
    const { signal } = this.#stopping;
    await Promise.all([
      this.#gpus.run(signal),
      this.#watchHost(signal),
      careForLogs({ files: () => this.#logFiles(), clock, log }, signal),
      this.#follow(follower, signal),
    ]);
  }

  async #follow(follower: ManifestFollower, signal: AbortSignal): Promise<void> {
    if (this.#held !== null) {
      await this.#own(signal).catch(() => undefined);
      if (signal.aborted) return;
      // As at a start: the file as it is now, and whatever serves now.
      this.#look = await this.#manifests.load();
      this.#installation.note({ serving: (await servingId(this.#places)) ?? null });
      this.#telling.noteLook(this.#look);
    }
    await follower.run(this.#look, signal);
  }

  /** Until the machine folder is ours (M5); rejects with the signal's reason. */
  async #own(signal: AbortSignal): Promise<void> {
    if (this.#owner.isOwner()) return;
    const note = (reason: string | null): void => {
      this.#held = reason;
      this.#telling.noteHeld(reason);
    };
    await this.#owner.untilTaken(note, signal);
    note(null);
    await this.#leaveAddress();
  }

  /** What the processes of this machine write, PM2's own log too; the installer keeps its own. */
  #logFiles(): readonly string[] {
    const own = (this.#serving?.sources() ?? []).flatMap((source) => source.logFiles());
    return own.length === 0 ? [] : [...own, join(this.#places.pm2Home, "pm2.log")];
  }

  #makeParts(applied: NonNullable<ManifestLook["applied"]>): ReturnType<MachineRooms["makeParts"]> {
    const { clock, random, log, programs, env } = this.#options;
    const { gpus, makeParts } = this.#rooms;
    const common = { places: this.#places, programs, env, gpus, clock, random, log };
    return makeParts(applied, { ...common, lockWaitMs: LOCK_WAIT_MS });
  }

  #createServing(): ServingMachine {
    const { clock, random, log, env, programs, attached } = this.#options;
    const places = this.#places;
    return new ServingMachine({
      places,
      home: env["HOME"] ?? homedir(),
      env,
      rooms: this.#rooms.makeServing({ places, programs, env, clock, log }),
      clock,
      random,
      log,
      agent: this.agent,
      attached,
      gpus: this.#gpus,
      healthPort: () => this.listening()?.port ?? null,
      serviceState: (name) => this.#registry?.report(name)?.state,
      installation: this.#installation,
      onChange: () => this.#telling.touch(),
      onSources: () => this.#telling.publish(),
    });
  }

  #replan(): void {
    const { signal } = this.#stopping;
    this.#serving?.replan(signal).catch((err: unknown) => {
      if (!signal.aborted) this.#options.log.error({ err }, "instances could not be planned anew");
    });
  }

  async #watchHost(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    while (!signal.aborted) {
      try {
        this.#telling.noteHost(await this.#rooms.readHost(this.#places.root));
      } catch (err) {
        log.warn({ err }, "the host could not be looked at");
      }
      await clock.sleep(HOST_FACTS_EVERY_MS, signal).catch(() => undefined);
    }
  }
}

/** Id of the complete release that the link names; undefined also where it cannot be read. */
async function servingId(places: MachinePlaces): Promise<string | undefined> {
  try {
    const releases = openReleases(places);
    const id = await releases.currentId();
    return id === undefined ? undefined : (await releases.lockOf(id))?.release;
  } catch {
    return undefined; // The installer looks again, and tells why.
  }
}
