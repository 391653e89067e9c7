import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createFleetKit, type FleetKit } from "../testing/fleet-kit.ts";
import { listPlacedInstances } from "./machines/store.ts";
import { checkReadiness, type ReadinessCheck } from "./readiness.ts";

let kit: FleetKit;
beforeAll(async () => {
  kit = await createFleetKit();
});
afterAll(() => kit?.drop());

const instanceCheck = async (): Promise<ReadinessCheck | undefined> => {
  const checks = await checkReadiness({
    db: kit.db,
    store: { probe: async () => ({ kind: "ready" }) },
    machines: { placedInstances: () => listPlacedInstances(kit.db) },
  });
  return checks.find(({ name }) => name === "instance");
};

/** Every instance tells what it has. */
const tell = async (): Promise<void> => {
  await kit.db.query("update instances set inventory_digest = 'd'");
};

describe("whether a job could start", () => {
  beforeEach(async () => {
    await kit.reset();
    kit.setDemand({ waitingJobs: 1, runningJobs: 1 });
    for (let round = 0; round < 12; round += 1) await kit.tick(10_000);
    await tell();
  });

  it("goes by an instance that takes work", async () => {
    expect(await instanceCheck()).toEqual({ name: "instance", ok: true, reason: null });
  });

  it.each(["ending", "ended"])(
    "believes the fleet's leader about a machine that is %s, not its last heartbeat",
    async (state) => {
      await kit.db.query(
        `update fleet_machines set state = $1, ended_at = now(), end_cause = 'failed',
           end_kind = 'crash', end_reason = 'killed'`,
        [state],
      );
      expect(await instanceCheck()).toEqual({
        name: "instance",
        ok: false,
        reason: "none of 1 instances is healthy and takes work: machines have ended",
      });
      // Its agent was not known to be its own when it ended.
      await kit.db.query("update fleet_machines set machine_id = null");
      expect((await instanceCheck())?.ok).toBe(false);
    },
  );

  it("believes a machine of somebody else that is seen anew after its end", async () => {
    await kit.registerStatic("box");
    await kit.tick(5_000);
    await tell();
    await kit.db.query(
      `update fleet_machines set state = 'ended', ended_at = now(), end_cause = 'failed',
         end_kind = 'no_heartbeat', end_reason = 'silent'`,
    );
    expect((await instanceCheck())?.ok).toBe(false);
    await kit.tick(5_000);
    expect((await instanceCheck())?.ok).toBe(true);
  });
});
