import { expect, it } from "vitest";
import type { Servers } from "../machines/servers.ts";
import type { ActiveRequirement } from "./active-requirements.ts";
import { createUnservedWatch } from "./unserved-watch.ts";

const REQUIREMENT: ActiveRequirement = {
  id: 1,
  needs: { models: [{ folder: "checkpoints", name: "x" }], nodeClasses: [] },
  waitingReason: null,
};
const WAIT_MS = 60_000;

/** A watch on a clock of its own; `asked` has the instants at which jobs were looked at. */
function createKit() {
  let now = 0;
  const asked: number[] = [];
  let isFetched = false;
  const servers = {
    couldBeServed: () => false,
    models: () => ({ missing: REQUIREMENT.needs.models, there: new Map() }),
  } as unknown as Servers;
  const watch = createUnservedWatch({
    db: {
      transaction: () => {
        asked.push(now);
        return Promise.resolve({ requirementIds: [], changed: 0, nextAfterId: "" });
      },
    },
    clock: { elapsed: () => now },
    settings: { modelWaitMs: WAIT_MS, recoveryEnabled: true, fallbackModels: [] },
    log: { warn: () => undefined },
    onQueued: () => undefined,
  } as unknown as Parameters<typeof createUnservedWatch>[0]);
  return {
    asked,
    fetch: (isNow: boolean) => void (isFetched = isNow),
    /** Looks each second until an instant, seeing the requirement unserved or not at all. */
    async until(ms: number, reason: string | null | undefined) {
      for (; now < ms; now += 1_000) {
        if (reason !== undefined) watch.note(REQUIREMENT, reason);
        await watch.replan(servers, () => isFetched);
      }
    },
  };
}

it("jobs are looked at when they have waited for so long, and again after a rest", async () => {
  const kit = createKit();
  await kit.until(67_000, "no machine has it");
  expect(kit.asked).toEqual([60_000, 65_000]);
});

it("what was served in between begins its wait anew", async () => {
  const kit = createKit();
  await kit.until(40_000, "no machine has it");
  await kit.until(41_000, null);
  await kit.until(90_000, "no machine has it");
  expect(kit.asked).toEqual([]);
});

it("so does what nobody asked for in between: an old wait is no wait", async () => {
  const kit = createKit();
  await kit.until(1_000, "no machine has it");
  await kit.until(3_600_000, undefined);
  await kit.until(3_630_000, "no machine has it");
  expect(kit.asked).toEqual([]);
});

it("jobs whose own model is being fetched get no other, until that is given up", async () => {
  const kit = createKit();
  kit.fetch(true);
  await kit.until(300_000, "no machine has it");
  expect(kit.asked).toEqual([]);
  kit.fetch(false);
  await kit.until(301_000, "no machine has it");
  expect(kit.asked).toEqual([300_000]);
});
