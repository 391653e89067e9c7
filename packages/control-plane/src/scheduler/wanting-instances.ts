/** What a poll's reports say of instances that want work. Pure. */
import type { InstanceReport, Lease } from "@holdfast/contract";
import type { InventoryIndex } from "../machines/model.ts";
import type { ActiveRequirements } from "./active-requirements.ts";
import type { IdleInstance } from "./idle-polls.ts";
import type { WantingInstance } from "./model.ts";

/** Instances that want work, with what they may be given; `given`: what this poll has claimed already. */
export function wantingInstances(
  reports: readonly InstanceReport[],
  facts: {
    readonly inventories: ReadonlyMap<string, InventoryIndex>;
    readonly given: readonly Lease[];
    readonly active: ActiveRequirements;
    readonly lastServed: ReadonlyMap<string, number>;
    readonly busy: ReadonlySet<string>;
  },
): WantingInstance[] {
  const wanting: WantingInstance[] = [];
  for (const report of reports) {
    const { instanceId, inventoryDigest, state, wants } = report;
    const inventory = facts.inventories.get(inventoryDigest ?? "");
    const got = facts.given.filter((lease) => lease.instanceId === instanceId).length;
    if (inventory === undefined || state !== "healthy" || wants <= got) continue;
    wanting.push({
      instanceId,
      wants: wants - got,
      servable: facts.active.servable(inventory),
      lastRequirementId: facts.lastServed.get(instanceId) ?? null,
      vramTotalBytes: inventory.vramTotalBytes,
      isIdle: got === 0 && !facts.busy.has(instanceId),
    });
  }
  return wanting;
}

/** Instances that want work and have none. */
export function idleInstances(
  reports: readonly InstanceReport[],
  inventories: ReadonlyMap<string, InventoryIndex>,
  busy: ReadonlySet<string>,
): readonly IdleInstance[] {
  return reports.flatMap(({ instanceId, inventoryDigest, state, wants }) => {
    const inventory = inventories.get(inventoryDigest ?? "");
    const isIdle = state === "healthy" && wants > 0 && !busy.has(instanceId);
    return inventory !== undefined && isIdle ? [{ instanceId, inventory }] : [];
  });
}
