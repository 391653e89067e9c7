import { expect, it } from "vitest";
import type { Servers } from "../machines/servers.ts";
import type { QueueHead, WantingInstance } from "./model.ts";
import { withCards } from "./wanted-cards.ts";

const HEAD: QueueHead = {
  jobId: "j",
  requirementId: 1,
  priority: 0,
  rank: 1,
  ageMs: 0,
  avoidInstances: [],
  preferredInstance: null,
  costKey: "k",
};
const wanting = (vramTotalBytes: number | null): WantingInstance => ({
  instanceId: "i1",
  wants: 1,
  servable: new Set([1]),
  lastRequirementId: null,
  isIdle: true,
  vramTotalBytes,
});

/** What the job should find, where the fleet has cards of these sizes, and how often the fleet was asked. */
async function wanted(own: number | null, fleet: readonly number[], more: Partial<QueueHead> = {}) {
  let looks = 0;
  const [head] = await withCards([{ ...HEAD, ...more }], [wanting(own)], {
    profiles: { vramPeakBytes: (costKey) => (costKey === "k" ? 20 : null) },
    machines: {
      servers: () => {
        looks += 1;
        const inventories = fleet.map((vramTotalBytes) => ({ vramTotalBytes }));
        return Promise.resolve({ inventories } as unknown as Servers);
      },
    },
    active: { canServe: (_inventory, id) => id === 1 },
  });
  return { bytes: head?.wantedVramBytes, looks };
}

it("a job is kept for a card with room while there is one that can serve it", async () => {
  expect(await wanted(12, [12, 24])).toEqual({ bytes: 20, looks: 1 });
});

it("a job waits for no card that is not there, or cannot serve it", async () => {
  expect(await wanted(12, [12, 16])).toEqual({ bytes: null, looks: 1 });
  expect(await wanted(12, [24], { requirementId: 2 })).toEqual({ bytes: null, looks: 1 });
});

it("the fleet is looked at only where a card is too small for a job that may wait", async () => {
  expect(await wanted(24, [24])).toMatchObject({ looks: 0 });
  expect(await wanted(null, [24])).toMatchObject({ looks: 0 });
  expect(await wanted(12, [24], { costKey: null })).toEqual({ bytes: null, looks: 0 });
  expect(await wanted(12, [24], { ageMs: 60_000 })).toMatchObject({ looks: 0 });
});
