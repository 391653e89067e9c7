import * as fc from "fast-check";
import { seededRandom } from "@holdfast/runtime";
import { describe, expect, it } from "vitest";
import { FakeCloud, type CloudScript, type MachineScript } from "../../testing/fake-cloud.ts";
import { FleetWorld, LeaderKilled } from "../../testing/fleet-world.ts";
import { DEFAULT_BREAKER_POLICY } from "../breaker/policy.ts";
import { DEFAULT_FLEET_POLICY, type Demand, type FleetPolicy } from "./model.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const TICK = 5_000;
const NIGHT_TICK = 30_000;
const NOTHING: Demand = { waitingJobs: 0, runningJobs: 0, jobMs: 30_000, oldestWaitMs: null };
const MUCH: Demand = { waitingJobs: 1_000, runningJobs: 0, jobMs: 30_000, oldestWaitMs: 0 };

const policy = (more: Partial<FleetPolicy> = {}, max = 8): FleetPolicy => ({
  ...DEFAULT_FLEET_POLICY,
  pools: [
    {
      name: "gpu",
      provider: "runpod",
      min: 0,
      max,
      instancesPerMachine: 1,
      pricePerHour: 1,
      startTimeoutMs: 10 * MINUTE,
      progressTimeoutMs: 5 * MINUTE,
      offerCount: 1,
    },
  ],
  ...more,
});

const WELL: MachineScript = { healthyAfterMs: MINUTE, diesAfterMs: null };
const cloudOf = (more: Partial<CloudScript>, seed = 1): FakeCloud =>
  new FakeCloud(
    { script: () => WELL, listLagMs: 10_000, lostShare: 0, emptyShare: 0, ...more },
    seededRandom(seed),
  );

describe("a leader that is killed", () => {
  it("at any step of a spawn leaves no machine that nobody knows, and asks for none twice", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 400 }),
        fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 30 }),
        fc.constantFrom(0, 0.3),
        fc.constantFrom(0, 10_000, 25_000),
        (seed, kills, lostShare, listLagMs) => {
          const random = seededRandom(seed);
          const cloud = cloudOf({ lostShare, emptyShare: 0.1, listLagMs }, seed);
          const until = 20 * MINUTE;
          const world = new FleetWorld({
            cloud,
            random,
            policy: policy({}, 4),
            demand: (now) => (now < until ? MUCH : NOTHING),
          });
          const left = [...kills];
          for (let now = 0; now <= 2 * HOUR; now += TICK) {
            world.killIn = left.shift() ?? Infinity;
            try {
              world.tick(now);
            } catch (error) {
              if (!(error instanceof LeaderKilled)) throw error;
            }
            world.killIn = Infinity;
            expect(cloud.living(now).length).toBeLessThanOrEqual(4);
          }
          const names = cloud.machines.map(({ name }) => name);
          expect(new Set(names).size).toBe(names.length);
          // Long after the last job: nothing is paid for any more, and nothing is waited for.
          expect(cloud.living(2 * HOUR)).toEqual([]);
          expect(world.living).toEqual([]);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("the twin: without looking for what may have been made, machines would be paid for twice", () => {
    const cloud = cloudOf({ lostShare: 0.6 });
    const asked = new Set<string>();
    for (let count = 0; count < 40; count += 1) {
      const name = `hf-${count}`;
      // What a plain retry does.
      while (cloud.create(name, 0).kind !== "ok") asked.add(name);
    }
    const names = cloud.machines.map(({ name }) => name);
    expect(new Set(names).size).toBeLessThan(names.length);
  });
});

describe("a night with a bad image", () => {
  const night = (breaker = DEFAULT_BREAKER_POLICY, more: Partial<FleetPolicy> = {}) => {
    const cloud = cloudOf({ script: () => ({ healthyAfterMs: null, diesAfterMs: null }) });
    const world = new FleetWorld({
      cloud,
      random: seededRandom(7),
      policy: policy(more),
      breaker,
      demand: () => MUCH,
    });
    for (let now = 0; now <= 8 * HOUR; now += NIGHT_TICK) world.tick(now);
    return { cloud, world };
  };

  it("starts the minimum for the check and one probe at a time", () => {
    const { cloud, world } = night();
    const { minimum, windowMs } = DEFAULT_BREAKER_POLICY;
    const firsts = cloud.machines.filter(({ madeAt }) => madeAt < windowMs);
    expect(firsts.length).toBeLessThanOrEqual(minimum);
    expect(world.heldBack).toBeGreaterThan(0);
    for (const { madeAt, endedAt } of cloud.machines) {
      const beside = cloud.machines.filter(
        (other) => other.madeAt <= madeAt && (other.endedAt ?? Infinity) > madeAt,
      );
      expect(beside).toHaveLength(1);
      // No machine that shows no progress lives for longer than it may.
      expect((endedAt ?? 8 * HOUR) - madeAt).toBeLessThan(6 * MINUTE);
    }
    expect(cloud.machines.length).toBeLessThanOrEqual(minimum + 8);
  });

  it("costs a small part of what a scaler costs that replaces whatever fails", () => {
    const { cloud } = night();
    const all = { ...DEFAULT_BREAKER_POLICY, minimum: 10_000 };
    const naive = night(all, { startAtOnce: 8, growth: 1 });
    expect(cloud.cost(8 * HOUR)).toBeLessThan(0.05 * naive.cloud.cost(8 * HOUR));
  });
});

describe("a fleet that follows its load", () => {
  it("starts one until it is healthy, then doubles, and ends all after the cool-down", () => {
    const cloud = cloudOf({});
    const until = 30 * MINUTE;
    const world = new FleetWorld({
      cloud,
      random: seededRandom(3),
      policy: policy(),
      demand: (now) => (now < until ? MUCH : NOTHING),
    });
    const onTheWay: number[] = [];
    for (let now = 0; now <= 2 * HOUR; now += TICK) {
      world.tick(now);
      const count = world.living.filter(({ state }) => state === "starting").length;
      if (count > 0 && count !== onTheWay.at(-1)) onTheWay.push(count);
      if (now === 20 * MINUTE) expect(cloud.living(now)).toHaveLength(8);
    }
    expect(onTheWay.slice(0, 3)).toEqual([1, 2, 4]);
    expect(cloud.living(2 * HOUR)).toEqual([]);
    expect(world.view).toMatchObject({ failed: 0, state: "closed" });
  });

  it("replaces a machine that is lost, within a tick of knowing it", () => {
    const cloud = cloudOf({});
    const demand: Demand = { ...NOTHING, runningJobs: 4, waitingJobs: 4, jobMs: 10 * MINUTE };
    const world = new FleetWorld({
      cloud,
      random: seededRandom(3),
      policy: policy({}, 4),
      demand: () => demand,
    });
    let killedAt: number | undefined;
    for (let now = 0; now <= HOUR; now += TICK) {
      if (now === 20 * MINUTE) {
        cloud.terminate(cloud.pickLiving(now)?.ref ?? "", now);
        killedAt = now;
      }
      world.tick(now);
    }
    const lost = [...world.rows.values()].find(({ end }) => end?.cause === "failed");
    expect(lost?.end).toMatchObject({ kind: "crash", at: killedAt });
    const replacement = [...world.rows.values()].find(({ askedAt }) => askedAt > 15 * MINUTE);
    expect((replacement?.askedAt ?? Infinity) - (killedAt ?? 0)).toBeLessThanOrEqual(TICK);
  });
});
