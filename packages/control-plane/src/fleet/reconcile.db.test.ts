import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { setMachineCordon } from "../machines/store.ts";
import { readInstallation } from "./lever-store.ts";
import { createFleetKit, type FleetKit } from "../../testing/fleet-kit.ts";

const SECOND = 1_000;
const MUCH = { waitingJobs: 100, oldestWaitMs: 0 };

let kit: FleetKit;
beforeAll(async () => {
  kit = await createFleetKit();
});
afterAll(() => kit?.drop());

const untilQuiet = async (rounds = 40): Promise<void> => {
  kit.setDemand({});
  for (let round = 0; round < rounds; round += 1) await kit.tick(30 * SECOND);
};

describe("the leader of a fleet", () => {
  it("starts machines for the queue one after the other, and ends them when nothing is left", async () => {
    await kit.reset();
    kit.setDemand(MUCH);
    const living: number[] = [];
    for (let round = 0; round < 30; round += 1) {
      await kit.tick(10 * SECOND);
      living.push(kit.cloud.living(kit.now).length);
    }
    expect(living.at(-1)).toBe(4);
    expect([...new Set(living)]).toEqual([0, 1, 3, 4]);
    expect(await kit.cordoned()).toBe(0);
    await untilQuiet(20);
    expect(kit.cloud.living(kit.now)).toEqual([]);
    // No new jobs for what is to end.
    expect(await kit.cordoned()).toBe(4);
    const rows = await kit.rows();
    expect(rows.map(({ state, end_cause: cause }) => `${state} ${cause}`)).toEqual(
      Array.from({ length: 4 }, () => "ended intended"),
    );
  });

  it("killed before or after any step of a spawn, leaves no orphan and pays for none twice", async () => {
    await kit.reset();
    kit.setDemand(MUCH);
    kit.killNext({ atStep: 1e9, isDone: false });
    await kit.tick(10 * SECOND);
    await kit.tick(10 * SECOND);
    const stepsOfSpawn = kit.steps;
    expect(stepsOfSpawn).toBeGreaterThan(20);
    for (let atStep = 1; atStep <= stepsOfSpawn; atStep += 1) {
      for (const isDone of [false, true]) {
        await kit.reset();
        kit.setDemand({ waitingJobs: 1 });
        kit.killNext({ atStep, isDone });
        for (let round = 0; round < 16; round += 1) await kit.tick(10 * SECOND);
        const names = kit.cloud.machines.map(({ name }) => name);
        const where = `killed ${isDone ? "after" : "before"} step ${atStep}`;
        expect(new Set(names).size, where).toBe(names.length);
        expect(kit.cloud.living(kit.now).length, where).toBe(1);
        await untilQuiet(14);
        expect(kit.cloud.living(kit.now), where).toEqual([]);
      }
    }
  });

  it("sees machines that somebody else started, and counts their loss, without ending them", async () => {
    await kit.reset();
    await kit.registerStatic("bench-box");
    await kit.tick(5 * SECOND);
    await kit.tick(5 * SECOND);
    expect(await kit.rows()).toMatchObject([
      { name: "bench-box", provider: "static", state: "ready" },
    ]);
    // No heartbeat from here on.
    for (let round = 0; round < 40; round += 1) await kit.tick(10 * SECOND);
    expect(await kit.rows()).toMatchObject([
      { name: "bench-box", state: "ended", end_cause: "failed", end_kind: "no_heartbeat" },
    ]);
    await kit.registerStatic("bench-box");
    await kit.tick(5 * SECOND);
    expect((await kit.rows()).map(({ state }) => state)).toEqual(["ended", "ready"]);
  });

  it("blocks after failures, tells it once, and goes on by itself", async () => {
    await kit.reset({ script: () => ({ healthyAfterMs: null, diesAfterMs: null }) });
    kit.setDemand(MUCH);
    const states: string[] = [];
    let summary: Awaited<ReturnType<typeof kit.tick>>;
    for (let round = 0; round < 200; round += 1) {
      summary = await kit.tick(30 * SECOND);
      const state = summary?.breaker.state ?? "killed";
      if (states.at(-1) !== state) states.push(state);
    }
    expect(states.slice(0, 3)).toEqual(["closed", "open", "half_open"]);
    expect(kit.cloud.machines.length).toBeLessThan(10);
    expect(summary?.pools[0]?.held).toMatch(/machines have failed|too many machines fail/);
    const { rows } = await kit.db.query<{ readonly state: string }>(
      "select payload ->> 'state' as state from events where type = 'fleet.breaker-changed' order by seq",
    );
    expect(rows.slice(0, 2).map(({ state }) => state)).toEqual(["open", "half_open"]);
    // Another leader goes on where this one was.
    kit.newLeader();
    await kit.tick(SECOND);
    expect(kit.cloud.machines.length).toBeLessThan(10);
  });

  it("ends what its provider lists under our label and nobody has written down, unless it serves", async () => {
    await kit.reset({ script: () => ({ healthyAfterMs: null, diesAfterMs: null }) });
    kit.cloud.create("hf-gpu-test01-unknown", kit.now);
    // Its agent may be on its way back.
    for (let round = 0; round < 10; round += 1) await kit.tick(20 * SECOND);
    expect(kit.cloud.living(kit.now)).toHaveLength(1);
    for (let round = 0; round < 10; round += 1) await kit.tick(20 * SECOND);
    expect(kit.cloud.living(kit.now)).toEqual([]);
    expect(await kit.rows()).toEqual([]);
    await kit.reset();
    kit.cloud.create("hf-gpu-test01-serves", kit.now);
    await kit.tick(20 * SECOND);
    expect(kit.cloud.living(kit.now)).toHaveLength(1);
    expect(await kit.rows()).toMatchObject([
      { name: "hf-gpu-test01-serves", provider: "runpod", state: "starting" },
    ]);
  });

  const untilReady = async (): Promise<void> => {
    await kit.reset();
    kit.setDemand({ waitingJobs: 1, runningJobs: 1 });
    for (let round = 0; round < 12; round += 1) await kit.tick(10 * SECOND);
    expect(await kit.rows()).toMatchObject([{ state: "ready" }]);
  };

  it("ends nobody for a silence in which it could hear nobody: it was away itself", async () => {
    await untilReady();
    // Down for an hour; the agents speak again a moment after the first round.
    kit.newLeader();
    await kit.tick(3_600 * SECOND, "unheard");
    await kit.tick(2 * SECOND, "unheard");
    for (let round = 0; round < 20; round += 1) await kit.tick(20 * SECOND);
    expect(await kit.rows()).toMatchObject([{ state: "ready", end_cause: null }]);
    expect(kit.cloud.living(kit.now)).toHaveLength(1);
    // A silence that it has listened to is one.
    for (let round = 0; round < 20; round += 1) await kit.tick(20 * SECOND, "unheard");
    expect((await kit.rows())[0]).toMatchObject({ end_kind: "no_heartbeat" });
  });

  it("believes the agent that it hears, not a list that lacks its machine", async () => {
    await untilReady();
    kit.cloud.isBlank = true;
    for (let round = 0; round < 20; round += 1) await kit.tick(20 * SECOND);
    expect(await kit.rows()).toMatchObject([{ state: "ready", end_cause: null }]);
    expect(kit.cloud.living(kit.now)).toHaveLength(1);
  });

  it("forgets no machine whose end its provider has not heard", async () => {
    await untilReady();
    kit.cloud.isDeaf = true;
    kit.setDemand({});
    for (let round = 0; round < 20; round += 1) await kit.tick(30 * SECOND);
    expect(await kit.rows()).toMatchObject([{ state: "ending" }]);
    expect(kit.cloud.living(kit.now)).toHaveLength(1);
    kit.cloud.isDeaf = false;
    for (let round = 0; round < 10; round += 1) await kit.tick(30 * SECOND);
    expect(await kit.rows()).toMatchObject([{ state: "ended" }]);
    expect(kit.cloud.living(kit.now)).toEqual([]);
  });

  it("starts another machine for one that a person has cordoned", async () => {
    await untilReady();
    await kit.db.query("update instances set cordoned = true");
    for (let round = 0; round < 3; round += 1) await kit.tick(5 * SECOND);
    expect((await kit.rows()).map(({ state }) => state)).toEqual(["ready", "starting"]);
  });

  it("leaves a person's cordon when a machine that was to end is kept", async () => {
    await kit.reset();
    const { db } = kit;
    await kit.registerStatic("box");
    await db.query(
      `insert into instances (id, machine_id, key, name, state, cordoned)
       values ('ins_other', 'mch_box', 'other', 'other', 'healthy', true)`,
    );
    const cordoned = async (): Promise<readonly string[]> => {
      const { rows } = await db.query<{ readonly id: string }>(
        "select id from instances where cordoned order by id",
      );
      return rows.map(({ id }) => id);
    };
    await setMachineCordon(db, "mch_box", true);
    expect(await cordoned()).toEqual(["ins_box", "ins_other"]);
    await setMachineCordon(db, "mch_box", false);
    expect(await cordoned()).toEqual(["ins_other"]);
  });

  it("blocks a pool whose key is refused, tells why with nothing to do, and ends that with a new key", async () => {
    await kit.reset();
    kit.setTrouble("unauthorized");
    await kit.tick(10 * SECOND);
    const told = await kit.tick(10 * SECOND);
    expect(told?.pools[0]).toMatchObject({
      desired: 0,
      held: "the provider refuses: unauthorized",
    });
    kit.setDemand(MUCH);
    for (let round = 0; round < 40; round += 1) await kit.tick(30 * SECOND);
    expect(kit.creates).toBeLessThan(10);
    kit.setTrouble(null);
    for (let round = 0; round < 4; round += 1) await kit.tick(10 * SECOND);
    expect(kit.cloud.living(kit.now)).toHaveLength(1);
  });

  it("counts no machine as failed while its provider cannot be reached", async () => {
    await kit.reset();
    kit.setDemand(MUCH);
    kit.setTrouble("unavailable");
    let summary: Awaited<ReturnType<typeof kit.tick>>;
    for (let round = 0; round < 120; round += 1) summary = await kit.tick(10 * SECOND);
    expect((await kit.rows()).filter(({ end_cause: cause }) => cause === "failed")).toEqual([]);
    expect(summary).toMatchObject({ breaker: { seen: 0 } });
    expect(summary?.pools[0]?.held).toContain("does not answer");
    expect(kit.creates).toBeLessThan(15);
    kit.setTrouble(null);
    for (let round = 0; round < 4; round += 1) await kit.tick(10 * SECOND);
    expect(kit.cloud.living(kit.now)).toHaveLength(1);
  });

  it("has another name for its machines in a database that was copied elsewhere", async () => {
    const { db } = kit;
    await db.query("truncate fleet_identity");
    expect(await readInstallation(db, "aaa111")).toEqual({ suffix: "aaa111", was: null });
    expect(await readInstallation(db, "bbb222")).toEqual({ suffix: "aaa111", was: null });
    await db.query("update fleet_identity set system = 'another/cluster'");
    expect(await readInstallation(db, "ccc333")).toEqual({ suffix: "ccc333", was: "aaa111" });
    expect(await readInstallation(db, "ddd444")).toEqual({ suffix: "ccc333", was: null });
  });
});
