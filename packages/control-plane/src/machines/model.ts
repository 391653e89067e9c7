import type { InstanceState, Inventory, ModelFetch } from "@holdfast/contract";
import { familyOfDeclared, type ModelFile } from "@holdfast/recovery";

/** A host that runs the agent. `lost` when its heartbeat has been away too long. */
export interface Machine {
  readonly id: string;
  readonly name: string;
  readonly session: number;
  readonly state: "online" | "lost";
  readonly agentVersion: string;
  readonly lastHeartbeatAt: number;
  readonly registeredAt: number;
}

/** One ComfyUI process on a machine. */
export interface Instance {
  readonly id: string;
  readonly machineId: string;
  readonly key: string;
  readonly name: string;
  readonly state: InstanceState;
  readonly reason: string | null;
  readonly cordoned: boolean;
  readonly inventoryDigest: string | null;
  readonly vramFreeBytes: number | null;
  readonly lastRequirementId: number | null;
  readonly stateSince: number;
  /** Set aside for a time, because jobs fail there; null when it is not. */
  readonly quarantine: Quarantine | null;
  /** Whether its agent can start its process anew. */
  readonly canRestart: boolean;
}

/** Why and until when an instance is given no work. */
export interface Quarantine {
  readonly until: number;
  readonly reason: string;
}

/** An instance beside what placement needs to know of its machine. */
export interface PlacedInstance extends Instance {
  readonly machineState: Machine["state"];
}

/** What a graph needs of an instance: the part of `graphNeeds` that placement looks at. */
export interface Needs {
  readonly nodeClasses: readonly string[];
  readonly models: readonly { readonly folder: string; readonly name: string }[];
}

/** An inventory in the form in which it is asked: sets, names with one kind of separator. */
export interface InventoryIndex {
  readonly digest: string;
  readonly nodeClasses: ReadonlySet<string>;
  /** `folder/name`, separators normalised. */
  readonly models: ReadonlySet<string>;
  /** Names by folder, spelled as the instance does. */
  readonly modelNames: ReadonlyMap<string, readonly string[]>;
  /** What files say of themselves, under the keys of {@link models}; those that say nothing are left out. */
  readonly modelFiles: ReadonlyMap<string, ModelFile>;
  readonly vramTotalBytes: number | null;
  /** As ComfyUI names its device. */
  readonly deviceName: string | null;
  readonly simulated: boolean;
}

/** Of some models, what a machine could fetch, and how its fetches go. */
export interface MachineOffers {
  readonly machineId: string;
  readonly machineName: string;
  readonly models: readonly {
    readonly folder: string;
    readonly name: string;
    readonly sizeBytes: number | null;
  }[];
  readonly fetches: readonly ModelFetch[];
  readonly diskFreeBytes: number | null;
}

/** A machine without a heartbeat for this long is `lost`. */
export const HEARTBEAT_TIMEOUT_MS = 60_000;

/** Brings a wire inventory into its asked form. */
export function toInventoryIndex(
  inventory: Pick<
    Inventory,
    | "deviceName"
    | "digest"
    | "modelFacts"
    | "models"
    | "nodeClasses"
    | "simulated"
    | "vramTotalBytes"
  >,
): InventoryIndex {
  const models = new Set<string>();
  for (const [folder, names] of Object.entries(inventory.models)) {
    for (const name of names) models.add(modelKey(folder, name));
  }
  return {
    digest: inventory.digest,
    nodeClasses: new Set(inventory.nodeClasses),
    models,
    modelNames: new Map(Object.entries(inventory.models)),
    modelFiles: new Map(
      (inventory.modelFacts ?? []).map(({ folder, name, tensorHash, sizeBytes, ...declared }) => [
        modelKey(folder, name),
        { family: familyOfDeclared(declared), tensorHash, sizeBytes },
      ]),
    ),
    vramTotalBytes: inventory.vramTotalBytes,
    deviceName: inventory.deviceName,
    simulated: inventory.simulated,
  };
}

/** A model's name as placement compares it: a graph made on Windows names `sub\x`, Linux lists `sub/x`. */
export function modelKey(folder: string, name: string): string {
  return `${folder}/${name.replaceAll("\\", "/")}`;
}
