/** What a machine tells: its services to the registry, facts to the health server, the report to the agent. */
import type { Agent, OwnReport } from "@holdfast/agent";
import type { MachineFacts } from "../health-server/model.ts";
import { COMFYUI_SERVICE } from "../instances/instance-services.ts";
import type { Manifest } from "../manifest/model.ts";
import {
  heldElsewhereSource,
  notConfiguredSource,
  notLookedAtSource,
} from "../services/fixed-facts.ts";
import type { ServiceSource } from "../services/model.ts";
import type { ServiceRegistry } from "../services/service-registry.ts";
import { attachedBeside, attachedSources, type ServedBeside } from "./attached-services.ts";
import type { GpuWatch } from "./gpu-watch.ts";
import { INSTALLER_SERVICE, type Installation } from "./installation.ts";
import { controlPlaneFacts, manifestFacts } from "./machine-facts.ts";
import type { MachineOptions } from "./machine-options.ts";
import { createReporter, type HostFacts } from "./machine-report.ts";
import type { ManifestLook } from "./manifest-watch.ts";
import type { ServingMachine } from "./serving-machine.ts";

/** What it is told from. Everything is read when it is asked for, and must not wait. */
export interface MachineTellingOptions {
  readonly options: MachineOptions;
  readonly agent: () => Agent;
  readonly gpus: Pick<GpuWatch, "facts" | "told">;
  readonly installation: Pick<Installation, "source" | "status">;
  readonly serving: () => ServingMachine | undefined;
  readonly healthPort: () => number | null;
}

const NO_MODELS: ReadonlySet<string> = new Set();

/** See the head of this file. */
export class MachineTelling {
  readonly #of: MachineTellingOptions;
  readonly #toReport = createReporter();
  /** Before there are instances of the machine's own. */
  readonly #alone: ServedBeside;
  #registry: ServiceRegistry | undefined;
  #look: ManifestLook = { applied: null, problems: [] };
  #trouble: string | null = null;
  #held: string | null = null;
  #host: HostFacts | undefined;
  /** Of the manifest that the health server was opened by. */
  #health: Manifest["health"] | undefined;

  constructor(of: MachineTellingOptions) {
    this.#of = of;
    this.#alone = attachedBeside(of.options.attached, []);
  }

  /** From now on the registry is told of the services, and the agent of changes. */
  begin(registry: ServiceRegistry, look: ManifestLook): void {
    this.#registry = registry;
    this.#look = look;
    this.#health = look.applied?.manifest.health;
    registry.subscribe(() => this.#of.agent().reportMachine());
    this.publish();
  }

  /** What is in force, or what is to be said of it. */
  noteLook(look: ManifestLook): void {
    this.#look = look;
    this.publish();
  }

  /** Why the machine cannot be brought to its manifest; null when nothing keeps it from that. */
  noteTrouble(problem: string | null): void {
    this.#trouble = problem;
    this.publish();
  }

  /** Why another agent runs what is in the machine folder; null when this one does. */
  noteHeld(reason: string | null): void {
    if (reason === this.#held) return;
    this.#held = reason;
    this.publish();
  }

  noteHost(host: HostFacts): void {
    this.#host = host;
  }

  /** There may be other services than before. */
  publish(): void {
    try {
      this.#registry?.replace(this.#sources());
    } catch (err) {
      // Those of before are told on; what they tell is as true as it was.
      this.#of.options.log.error({ err }, "services could not be taken over");
    }
    this.touch();
  }

  /** Something that is told has changed. */
  touch(): void {
    if (this.#registry === undefined) return;
    this.#registry.touch();
    this.#of.agent().reportMachine();
  }

  /** For the health server. */
  facts(): MachineFacts {
    const { machineName, controlPlaneUrl: url, manifestPath } = this.#of.options;
    const agent = this.#of.agent().status();
    const serving = this.#of.serving();
    return {
      machineId: agent.machineId,
      name: machineName,
      gpus: [...this.#of.gpus.facts()],
      controlPlane: controlPlaneFacts({ url, agent }),
      release: serving?.release()?.id ?? null,
      manifest: manifestFacts({
        path: manifestPath,
        isApplied: this.#look.applied !== null,
        problems: this.#look.problems,
        servingProblems: [...(serving?.problems() ?? this.#alone.notes), ...this.#lateNotes()],
        trouble: this.#held ?? this.#trouble,
      }),
    };
  }

  /** For the control plane; undefined while it is not known. */
  report(): OwnReport | undefined {
    if (this.#host === undefined || this.#registry === undefined) return undefined;
    const { applied } = this.#look;
    const serving = this.#of.serving();
    return this.#toReport({
      services: this.#registry.reports(),
      gpus: this.#of.gpus.told(),
      lock: serving?.lock() ?? null,
      // What another agent has in its hands is not this one's to offer.
      manifest: this.#held === null ? (applied?.manifest ?? null) : null,
      manifestDigest: this.#held === null ? (applied?.digest ?? null) : null,
      presentModels: serving?.presentModels() ?? NO_MODELS,
      host: this.#host,
      healthPort: this.#of.healthPort(),
    });
  }

  #sources(): readonly ServiceSource[] {
    const { clock } = this.#of.options;
    const own = this.#ownSources();
    const names = own.map(({ name }) => name);
    const served = this.#of.serving()?.attached() ?? this.#alone.attached;
    return [...own, ...attachedSources(served, this.#of.agent(), names, () => clock.now())];
  }

  #ownSources(): readonly ServiceSource[] {
    const { applied, problems } = this.#look;
    if (applied === null) {
      const why = problems[0] ?? `there is no ${this.#of.options.manifestPath}`;
      return [notConfiguredSource(COMFYUI_SERVICE, "comfyui", why)];
    }
    if (this.#held !== null) return this.#heldSources(this.#held);
    const serving = this.#of.serving();
    return [this.#of.installation.source(), ...(serving?.sources() ?? [this.#beforeServing()])];
  }

  #heldSources(why: string): readonly ServiceSource[] {
    const isConfigured = this.#look.applied?.manifest.comfyui !== undefined;
    return [
      heldElsewhereSource(INSTALLER_SERVICE, "installer", { isConfigured: true, why }),
      heldElsewhereSource(COMFYUI_SERVICE, "comfyui", { isConfigured, why }),
    ];
  }

  /** ComfyUI between the manifest and the first look at what there is. */
  #beforeServing(): ServiceSource {
    return notLookedAtSource(COMFYUI_SERVICE, "comfyui", {
      isConfigured: this.#look.applied?.manifest.comfyui !== undefined,
      installation: () => this.#of.installation.status(),
    });
  }

  /** What a manifest says that is taken into force by a new start alone. */
  #lateNotes(): readonly string[] {
    const now = this.#look.applied?.manifest.health;
    const isSame = JSON.stringify(now) === JSON.stringify(this.#health);
    if (now === undefined || isSame) return [];
    return ["`health` is taken over when the agent is started anew"];
  }
}
