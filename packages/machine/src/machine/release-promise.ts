import type { InventoryPromise } from "@holdfast/agent";
import type { Release } from "../instances/model.ts";

/** Names of missing things that are told; the rest are counted. */
const NAMED_MAX = 5;

/**
 * What a release promises of an instance (DESIGN §5): a ComfyUI that lacks a class of a
 * pack, or a model of the manifest, is not healthy, whatever else it can do.
 */
export function promiseOf(release: () => Release | null): InventoryPromise {
  return (inventory) => {
    const promised = release();
    if (promised === null) return null;
    const classes = new Set(inventory.nodeClasses);
    const missingClasses = promised.nodeClasses.filter((name) => !classes.has(name));
    const missingModels = promised.models
      .filter(({ folder, name }) => {
        // A folder that no node class lists is one that the instance tells nothing of.
        const names = inventory.models[folder];
        return names !== undefined && !names.includes(name);
      })
      .map(({ folder, name }) => `${folder}/${name}`);
    const reasons = [
      ...(missingClasses.length > 0 ? [`node ${list(missingClasses)}`] : []),
      ...(missingModels.length > 0 ? [`model ${list(missingModels)}`] : []),
    ];
    return reasons.length === 0
      ? null
      : `the manifest promises what it lacks: ${reasons.join("; ")}`;
  };
}

function list(names: readonly string[]): string {
  const more = names.length - NAMED_MAX;
  return names.slice(0, NAMED_MAX).join(", ") + (more > 0 ? ` and ${more} more` : "");
}
