/** Who could run a job, and what they have: read once for each failure, asked by the decision. */
import type { ModelNeed } from "@holdfast/comfyui/protocol";
import type { CardFacts, ModelFacts, OtherInstance } from "@holdfast/recovery";
import { canServe, explainWaiting, isPlaceable, missingNeeds } from "./eligibility.ts";
import { filesAt, mergeFiles } from "./model-files.ts";
import { modelKey, type InventoryIndex, type Needs, type PlacedInstance } from "./model.ts";

/** The instances that take work, with what they have; those that have not told are left out. */
export interface Servers {
  readonly instances: readonly KnownInstance[];
  /** What they have, each kind once. */
  readonly inventories: readonly InventoryIndex[];
  /** Why none of them can serve these needs, in words; null when one can. */
  explainWaiting(needs: Needs): string | null;
  /** Whether an instance that takes no work now could serve them. */
  couldBeServed(needs: Needs): boolean;
  /** Those that have what these needs name. */
  serving(needs: Needs): readonly OtherInstance[];
  /** Whether every instance that has what the needs name also has a class. */
  haveClass(needs: Needs, classType: string): boolean;
  cardOf(instanceId: string): CardFacts;
  /** The machine of an instance, whether it takes work or not. */
  machineOf(instanceId: string): string | null;
  /** Whether its agent can start an instance anew. */
  canRestart(instanceId: string): boolean;
  /** The largest card among those that have the classes; null when one does not tell. */
  largestCard(needs: Needs): number | null;
  /**
   * What is missing where least is, what is there instead, and what files say of themselves: on any
   * instance, for who has the missing one may be away. Null when no instance has the classes.
   */
  models(needs: Needs): Pick<ModelFacts, "missing" | "there" | "files"> | null;
}

/** An instance that takes work, beside what it told of itself. */
export interface KnownInstance {
  readonly instance: PlacedInstance;
  readonly inventory: InventoryIndex;
}

/** {@link Servers} of instances and what is known of them. */
export function createServers(
  all: readonly PlacedInstance[],
  known: readonly KnownInstance[],
  merge: typeof mergeFiles = mergeFiles,
): Servers {
  const instances = known.filter(({ instance }) => isPlaceable(instance));
  const byDigest = new Map(known.map(({ inventory }) => [inventory.digest, inventory]));
  // In an order of their own: the same fleet is the same list.
  const everywhere = [...byDigest.values()].sort((a, b) => (a.digest < b.digest ? -1 : 1));
  const servingNeeds = (needs: Needs): readonly KnownInstance[] =>
    instances.filter(({ inventory }) => canServe(inventory, needs));
  const withClasses = (needs: Needs): readonly KnownInstance[] =>
    instances.filter(({ inventory }) => missingNeeds(inventory, needs).nodeClasses.length === 0);
  return {
    instances,
    inventories: [...new Set(instances.map(({ inventory }) => inventory))],
    explainWaiting: (needs) => explainWaiting(needs, all, byDigest),
    couldBeServed: (needs) => known.some(({ inventory }) => canServe(inventory, needs)),
    serving: (needs) => servingNeeds(needs).map(toOther),
    haveClass(needs, classType) {
      const serving = servingNeeds(needs);
      // Nobody takes work just now: then those count that will again.
      const asked =
        serving.length > 0 ? serving : known.filter(({ inventory }) => canServe(inventory, needs));
      return (
        asked.length > 0 && asked.every(({ inventory }) => inventory.nodeClasses.has(classType))
      );
    },
    cardOf(instanceId) {
      const found = known.find(({ instance }) => instance.id === instanceId);
      return found === undefined ? { totalBytes: null } : cardOf(found);
    },
    machineOf: (instanceId) => all.find(({ id }) => id === instanceId)?.machineId ?? null,
    canRestart: (instanceId) => all.find(({ id }) => id === instanceId)?.canRestart === true,
    largestCard(needs) {
      let largest: number | null = null;
      for (const { inventory } of withClasses(needs)) {
        if (inventory.vramTotalBytes === null) return null;
        largest = Math.max(largest ?? 0, inventory.vramTotalBytes);
      }
      return largest;
    },
    models(needs) {
      let best: { lacking: readonly ModelNeed[]; at: KnownInstance[] } | null = null;
      for (const one of withClasses(needs)) {
        const lacking = needs.models.filter(
          ({ folder, name }) => !one.inventory.models.has(modelKey(folder, name)),
        );
        if (best === null || lacking.length < best.lacking.length) best = { lacking, at: [one] };
        else if (isSame(lacking, best.lacking)) best.at.push(one);
      }
      if (best === null) return null;
      return {
        missing: best.lacking,
        there: namesOf(best.at),
        files: filesAt(
          () => merge(everywhere),
          best.at.map(({ inventory }) => inventory),
        ),
      };
    },
  };
}

function toOther(known: KnownInstance): OtherInstance {
  const { id, machineId } = known.instance;
  return { id, machineId, card: cardOf(known) };
}

function cardOf({ inventory }: KnownInstance): CardFacts {
  return { totalBytes: inventory.vramTotalBytes };
}

function isSame(some: readonly ModelNeed[], others: readonly ModelNeed[]): boolean {
  return some.length === others.length && some.every((one, at) => one === others[at]);
}

/** Every name that one of these instances has, by folder, in the order of the instances. */
function namesOf(instances: readonly KnownInstance[]): ReadonlyMap<string, readonly string[]> {
  const names = new Map<string, Set<string>>();
  for (const { inventory } of instances) {
    for (const [folder, own] of inventory.modelNames) {
      const all = names.get(folder) ?? new Set();
      for (const name of own) all.add(name);
      names.set(folder, all);
    }
  }
  return new Map([...names].map(([folder, own]) => [folder, [...own]]));
}
