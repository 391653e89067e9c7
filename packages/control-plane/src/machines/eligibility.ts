import { modelKey, type InventoryIndex, type Needs, type PlacedInstance } from "./model.ts";

/** What an instance lacks for a graph; both lists empty when it can serve it. */
export interface MissingNeeds {
  readonly nodeClasses: readonly string[];
  readonly models: readonly string[];
}

/** Names per list in a sentence for a person. */
const NAMES_SHOWN = 3;

/** What of the needs an inventory does not have. */
export function missingNeeds(inventory: InventoryIndex, needs: Needs): MissingNeeds {
  return {
    nodeClasses: needs.nodeClasses.filter((name) => !inventory.nodeClasses.has(name)),
    models: needs.models
      .map((model) => modelKey(model.folder, model.name))
      .filter((key) => !inventory.models.has(key)),
  };
}

/** Whether an inventory has all that a graph needs. */
export function canServe(inventory: InventoryIndex, needs: Needs): boolean {
  return (
    needs.nodeClasses.every((name) => inventory.nodeClasses.has(name)) &&
    needs.models.every((model) => inventory.models.has(modelKey(model.folder, model.name)))
  );
}

/** Whether an instance may be given work at all, whatever the work needs. */
export function isPlaceable(instance: PlacedInstance): boolean {
  return (
    instance.state === "healthy" &&
    !instance.cordoned &&
    instance.quarantine === null &&
    instance.machineState === "online"
  );
}

/**
 * Why no instance can serve these needs, in one sentence for the job's page; null when one can.
 * An instance without an inventory yet counts as one that cannot.
 */
export function explainWaiting(
  needs: Needs,
  instances: readonly PlacedInstance[],
  inventories: ReadonlyMap<string, InventoryIndex>,
): string | null {
  if (instances.length === 0) return "no machine is connected";
  const placeable = instances.filter(isPlaceable);
  let best: MissingNeeds | null = null;
  let someoneUnhealthyCould = false;
  for (const instance of instances) {
    const inventory = inventories.get(instance.inventoryDigest ?? "");
    if (inventory === undefined) continue;
    const missing = missingNeeds(inventory, needs);
    const isComplete = missing.models.length + missing.nodeClasses.length === 0;
    if (isComplete && placeable.includes(instance)) return null;
    if (isComplete) someoneUnhealthyCould = true;
    if (best === null || size(missing) < size(best)) best = missing;
  }
  if (someoneUnhealthyCould)
    return "every instance that could serve it is unhealthy, cordoned or in quarantine";
  if (best === null) return "no instance has told what it has yet";
  const parts = [
    best.models.length > 0 ? `no machine has model ${someOf(best.models)}` : null,
    best.nodeClasses.length > 0 ? `no machine has node ${someOf(best.nodeClasses)}` : null,
  ].filter((part) => part !== null);
  return parts.join("; ");
}

function size(missing: MissingNeeds): number {
  return missing.models.length + missing.nodeClasses.length;
}

function someOf(names: readonly string[]): string {
  const shown = names.slice(0, NAMES_SHOWN).join(", ");
  return names.length > NAMES_SHOWN ? `${shown} and ${names.length - NAMES_SHOWN} more` : shown;
}
