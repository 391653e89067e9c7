import type { MachinesService } from "../machines/service.ts";
import type { ProfilesService } from "../profiles/service.ts";
import type { ActiveRequirements } from "./active-requirements.ts";
import type { QueueHead, SizedHead, WantingInstance } from "./model.ts";
import { isTooSmall } from "./ranking.ts";

/**
 * The heads with the memory that each should find on its card: where that was measured, one of the
 * wanting instances has less, and another that takes work and can serve the job has enough. The fleet is
 * looked at only then.
 */
export async function withCards(
  heads: readonly QueueHead[],
  wanting: readonly WantingInstance[],
  deps: {
    readonly profiles: Pick<ProfilesService, "vramPeakBytes">;
    readonly machines: Pick<MachinesService, "servers">;
    readonly active: Pick<ActiveRequirements, "canServe">;
  },
): Promise<readonly SizedHead[]> {
  const sized = heads.map((head): SizedHead => {
    return { ...head, wantedVramBytes: deps.profiles.vramPeakBytes(head.costKey) };
  });
  const isTight = (head: SizedHead): boolean =>
    wanting.some((instance) => isTooSmall(instance, head));
  if (!sized.some(isTight)) return sized;
  const { inventories } = await deps.machines.servers();
  return sized.map((head) => {
    if (!isTight(head)) return head;
    const hasRoom = inventories.some(
      (inventory) =>
        (inventory.vramTotalBytes ?? 0) >= (head.wantedVramBytes ?? 0) &&
        deps.active.canServe(inventory, head.requirementId),
    );
    return hasRoom ? head : { ...head, wantedVramBytes: null };
  });
}
