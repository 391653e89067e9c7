import { createHash } from "node:crypto";
import type { Inventory } from "@holdfast/contract";
import {
  canonicalJson,
  choicesOf,
  modelFolderOf,
  type ObjectInfo,
  type SystemStats,
} from "@holdfast/comfyui/protocol";

/** Longest class and model names, and most of them, that an inventory may hold (contract). */
const CLASS_NAME_MAX = 256;
const MODEL_NAME_MAX = 512;
const NAMES_MAX = 20_000;

/**
 * What an instance can serve: its node classes, and its models by folder as its loaders list them,
 * which is what ComfyUI validates a graph against. The digest is the SHA-256 of the rest.
 */
export function toInventory(objectInfo: ObjectInfo, stats: SystemStats): Inventory {
  const device = stats.devices[0];
  const facts = {
    nodeClasses: Object.keys(objectInfo)
      .filter((name) => name.length <= CLASS_NAME_MAX)
      .sort()
      .slice(0, NAMES_MAX),
    models: modelsByFolder(objectInfo),
    comfyuiVersion: stats.comfyuiVersion?.slice(0, 64) ?? null,
    vramTotalBytes: device?.vramTotalBytes ?? null,
    deviceName: device?.name.slice(0, 256) ?? null,
    simulated: isSimulated(stats),
  };
  const digest = createHash("sha256").update(canonicalJson(facts)).digest("hex");
  return { digest, ...facts };
}

function modelsByFolder(objectInfo: ObjectInfo): Record<string, string[]> {
  const folders = new Map<string, Set<string>>();
  for (const [classType, info] of Object.entries(objectInfo)) {
    for (const specs of [info.input.required, info.input.optional]) {
      for (const [input, spec] of Object.entries(specs ?? {})) {
        const folder = modelFolderOf(classType, input);
        const choices = folder === undefined ? undefined : choicesOf(spec);
        if (folder === undefined || choices === undefined) continue;
        const names = folders.get(folder) ?? new Set();
        for (const name of choices) {
          if (typeof name === "string" && name.length <= MODEL_NAME_MAX) names.add(name);
        }
        folders.set(folder, names);
      }
    }
  }
  return Object.fromEntries(
    [...folders]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([folder, names]) => [folder, [...names].sort().slice(0, NAMES_MAX)]),
  );
}

/** The simulator says so in its device's name, as a real card never would. */
function isSimulated(stats: SystemStats): boolean {
  return stats.devices.some((device) => /simulat/i.test(device.name));
}
