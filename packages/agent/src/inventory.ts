import { createHash } from "node:crypto";
import type { Inventory } from "@holdfast/contract";
import {
  canonicalJson,
  choicesOf,
  modelFolderOf,
  type ObjectInfo,
  type SystemStats,
} from "@holdfast/comfyui/protocol";
import { cleanText, cutText } from "./wire-text.ts";

/** Longest class and model names, and most of them, that an inventory may hold (contract). */
const CLASS_NAME_MAX = 256;
const MODEL_NAME_MAX = 512;
const NAMES_MAX = 20_000;
const FOLDER_NAME_MAX = 128;

/** An inventory within the contract's limits. */
export interface BoundedInventory {
  readonly inventory: Inventory;
  /** Class and model names that are not in it: too long, too many, or no text that can be stored. */
  readonly omitted: number;
}

/**
 * What an instance can serve: its node classes, and its models by folder as its loaders list them,
 * which is what ComfyUI validates a graph against. The digest is the SHA-256 of the rest. What the
 * contract does not take is left out: a whole inventory that is refused would keep the instance idle.
 */
export function toInventory(objectInfo: ObjectInfo, stats: SystemStats): BoundedInventory {
  const device = stats.devices[0];
  const classes = bounded(Object.keys(objectInfo), CLASS_NAME_MAX);
  const models = modelsByFolder(objectInfo);
  const { comfyuiVersion } = stats;
  const facts = {
    nodeClasses: classes.names,
    models: models.byFolder,
    comfyuiVersion: comfyuiVersion === undefined ? null : cutText(comfyuiVersion, 64),
    vramTotalBytes: device?.vramTotalBytes ?? null,
    deviceName: device === undefined ? null : cutText(device.name, 256),
    simulated: isSimulated(stats),
  };
  return { inventory: withDigest(facts), omitted: classes.omitted + models.omitted };
}

/** The inventory with what is known of its model files, and so with another digest. */
export function withModelFacts(
  inventory: Inventory,
  modelFacts: Inventory["modelFacts"],
): Inventory {
  const { digest: _old, modelFacts: _before, ...facts } = inventory;
  return withDigest(modelFacts === undefined ? facts : { ...facts, modelFacts });
}

function withDigest(facts: Omit<Inventory, "digest">): Inventory {
  const digest = createHash("sha256").update(canonicalJson(facts)).digest("hex");
  return { digest, ...facts };
}

/** The names that fit, sorted, and how many do not. */
function bounded(names: Iterable<string>, lengthMax: number): { names: string[]; omitted: number } {
  const all = [...names];
  const kept = all
    .filter((name) => name.length <= lengthMax && cleanText(name) === name)
    .sort()
    .slice(0, NAMES_MAX);
  return { names: kept, omitted: all.length - kept.length };
}

function modelsByFolder(objectInfo: ObjectInfo): {
  byFolder: Record<string, string[]>;
  omitted: number;
} {
  const folders = new Map<string, Set<string>>();
  for (const [classType, info] of Object.entries(objectInfo)) {
    for (const specs of [info.input.required, info.input.optional]) {
      for (const [input, spec] of Object.entries(specs ?? {})) {
        const folder = modelFolderOf(classType, input);
        const choices = folder === undefined ? undefined : choicesOf(spec);
        if (folder === undefined || choices === undefined) continue;
        const names = folders.get(folder) ?? new Set();
        for (const name of choices) {
          if (typeof name === "string") names.add(name);
        }
        folders.set(folder, names);
      }
    }
  }
  let omitted = 0;
  const byFolder: Record<string, string[]> = {};
  for (const [folder, all] of [...folders].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const models = bounded(all, MODEL_NAME_MAX);
    omitted += models.omitted;
    if (folder.length <= FOLDER_NAME_MAX) byFolder[folder] = models.names;
  }
  return { byFolder, omitted };
}

/** The simulator says so in its device's name, as a real card never would. */
function isSimulated(stats: SystemStats): boolean {
  return stats.devices.some((device) => /simulat/i.test(device.name));
}
