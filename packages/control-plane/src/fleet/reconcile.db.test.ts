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

  it("removes what has ended at its provider and nobody knows, once, after the same while", async () => {
    await kit.reset({ script: () => ({ healthyAfterMs: null, diesAfterMs: null }) });
    kit.cloud.create("hf-gpu-test01-over", kit.now);
    const [machine] = kit.cloud.machines;
    if (machine !== undefined) machine.endedAt = kit.now;
    const told = () =>
      kit.logged().filter(({ msg }) => msg === "ended machine found that nobody knows, removed");
    for (let round = 0; round < 10; round += 1) await kit.tick(20 * SECOND);
    expect(kit.cloud.told).toEqual([]);
    for (let round = 0; round < 15; round += 1) await kit.tick(20 * SECOND);
    expect(kit.cloud.told).toEqual(["ref-0"]);
    expect(told()).toMatchObject([{ machine: "hf-gpu-test01-over", ref: "ref-0", pool: "gpu" }]);
    expect(await kit.rows()).toEqual([]);
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

  it.each([false, true])(
    "ends what a person wants ended under that person's name and reason (now: %s)",
    async (now) => {
      await untilReady();
      const request = { by: "key_bob", reason: "too slow", now };
      await kit.db.query("update fleet_machines set end_request = $1", [JSON.stringify(request)]);
      for (let round = 0; round < 12; round += 1) await kit.tick(10 * SECOND);
      expect((await kit.rows())[0]).toMatchObject({
        state: "ended",
        end_cause: "intended",
        end_reason: "key_bob wanted it ended: too slow",
      });
    },
  );

  it("logs a failure of a machine as a warning, with its cause, and an end on purpose as none", async () => {
    const changes = () => kit.logged().filter(({ machine }) => machine !== undefined);
    await untilReady();
    const [machine] = kit.cloud.machines;
    if (machine !== undefined) machine.endedAt = kit.now;
    for (let round = 0; round < 3; round += 1) await kit.tick(10 * SECOND);
    const isWarning = ({ level }: { readonly level?: unknown }) => level === "warn";
    expect(changes().filter(isWarning)).toMatchObject([
      {
        machine: machine?.name,
        state: "ending",
        cause: "failed",
        kind: "crash",
        reason: "its provider says that it ended",
        msg: "machine of the fleet failed",
      },
    ]);
    await untilReady();
    await untilQuiet(20);
    expect((await kit.rows())[0]).toMatchObject({ state: "ended", end_cause: "intended" });
    expect(changes().filter(isWarning)).toEqual([]);
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

  /** Asked for and made, and the answer was lost. */
  const untilUnsure = async (): Promise<string> => {
    await kit.reset({ lostShare: 1, script: () => ({ healthyAfterMs: null, diesAfterMs: null }) });
    kit.setDemand({ waitingJobs: 1 });
    for (let round = 0; round < 2; round += 1) await kit.tick(SECOND);
    expect(kit.cloud.living(kit.now)).toHaveLength(1);
    const [row] = await kit.rows();
    expect(row).toMatchObject({ state: "asked", trouble: "unavailable" });
    return row?.name ?? "";
  };

  it("gives up what may have been made for a pool that is gone, and says what to look for", async () => {
    const name = await untilUnsure();
    kit.setPool(false);
    kit.setDemand({});
    for (let round = 0; round < 10; round += 1) await kit.tick(60 * SECOND);
    expect(await kit.rows()).toMatchObject([
      {
        state: "asked",
        trouble: expect.stringContaining("put the pool back, or it is given up at"),
      },
    ]);
    for (let round = 0; round < 10; round += 1) await kit.tick(60 * SECOND);
    expect(await kit.rows()).toMatchObject([
      {
        state: "ended",
        end_cause: "intended",
        end_reason: expect.stringContaining(`look for ${name} at its provider (runpod)`),
      },
    ]);
    const errors = kit.logged().filter(({ level }) => level === "error");
    expect(errors).toMatchObject([{ machine: name, pool: "gpu", provider: "runpod" }]);
    // Put back long after: what was made all the same is ended.
    kit.setPool(true);
    for (let round = 0; round < 20; round += 1) await kit.tick(30 * SECOND);
    expect(kit.cloud.living(kit.now)).toEqual([]);
  });

  it("finds what was made for a pool that comes back in time", async () => {
    await untilUnsure();
    kit.setPool(false);
    for (let round = 0; round < 5; round += 1) await kit.tick(60 * SECOND);
    kit.setPool(true);
    for (let round = 0; round < 2; round += 1) await kit.tick(10 * SECOND);
    expect(await kit.rows()).toMatchObject([{ state: "starting", ref: "ref-0", trouble: null }]);
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
