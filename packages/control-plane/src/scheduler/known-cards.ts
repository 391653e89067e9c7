import type { InstanceReport } from "@holdfast/contract";
import type { InventoryIndex } from "../machines/model.ts";
import { cardName } from "../profiles/card-name.ts";
import type { Profile } from "../profiles/profile.ts";
import type { ProfilesService } from "../profiles/service.ts";
import type { GrantedJob } from "./model.ts";

/** Instances whose cards are remembered; forgetting one costs a lease the limits of its profile. */
const CARDS_REMEMBERED = 20_000;

/** The kinds of cards that polls told of: where a job is going to run. */
export interface KnownCards {
  note(reports: readonly InstanceReport[], inventories: ReadonlyMap<string, InventoryIndex>): void;
  /** What is known of a job's cost on the card of its instance. */
  readonly profileOf: (job: GrantedJob) => Profile | undefined;
}

/** Makes {@link KnownCards} that know of none. */
export function createKnownCards(profiles: Pick<ProfilesService, "find">): KnownCards {
  const cards = new Map<string, string>();
  return {
    note(reports, inventories) {
      if (cards.size >= CARDS_REMEMBERED) cards.clear();
      for (const { instanceId, inventoryDigest } of reports) {
        const inventory = inventories.get(inventoryDigest ?? "");
        if (inventory !== undefined) cards.set(instanceId, cardName(inventory.deviceName));
      }
    },
    // A graph that recovery has changed costs something else.
    profileOf: ({ plan, costKey, instanceId }) =>
      plan === null ? profiles.find(costKey, cards.get(instanceId)) : undefined,
  };
}
