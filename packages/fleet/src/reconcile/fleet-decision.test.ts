import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ProvidedMachine } from "../provider/model.ts";
import { decideFleet, decideUnknown, type FleetFacts } from "./fleet-decision.ts";
import {
  DEFAULT_FLEET_POLICY,
  NO_SIGNS,
  toListing,
  type FleetMachine,
  type FleetPolicy,
  type MachineSigns,
  type PoolPolicy,
} from "./model.ts";
import { wantedMachine } from "./transitions.ts";

const NOW = 10_000_000;
const pool = (name: string, more: Partial<PoolPolicy> = {}): PoolPolicy => ({
  name,
  provider: "runpod",
  min: 0,
  max: 4,
  instancesPerMachine: 1,
  pricePerHour: 2,
  startTimeoutMs: 600_000,
  progressTimeoutMs: 300_000,
  offerCount: 1,
  ...more,
});
const policy = (more: Partial<FleetPolicy> = {}): FleetPolicy => ({
  ...DEFAULT_FLEET_POLICY,
  startAtOnce: 100,
  pools: [pool("a"), pool("b")],
  ...more,
});
const machine = (id: string, more: Partial<FleetMachine> = {}): FleetMachine => ({
  ...wantedMachine(
    { id, name: `hf-${id}`, pool: "a", provider: "runpod", offer: null, pricePerHour: 2 },
    0,
  ),
  state: "ready",
  ref: id,
  createdAt: 0,
  healthyAt: 0,
  ...more,
});
const idleFor = (ms: number): MachineSigns => ({
  ...NO_SIGNS,
  isHealthy: true,
  idleSince: NOW - ms,
});
const decide = (more: Partial<FleetFacts> = {}, rules: FleetPolicy = policy()) =>
  decideFleet(
    {
      now: NOW,
      machines: [],
      signsOf: () => idleFor(0),
      lifespans: [],
      breaker: { state: "closed", probeAt: null },
      demand: { waitingJobs: 0, runningJobs: 0, jobMs: 600_000, oldestWaitMs: null },
      blockedPools: new Map(),
      ...more,
    },
    rules,
  );
const jobs = (waitingJobs: number) => ({
  demand: { waitingJobs, runningJobs: 0, jobMs: 600_000, oldestWaitMs: null },
});

describe("how many machines are asked for", () => {
  it("fills one pool after the other", () => {
    expect(decide(jobs(6)).pools).toMatchObject([
      { pool: "a", desired: 4, ask: 4, held: null },
      { pool: "b", desired: 2, ask: 2, held: null },
    ]);
  });

  it("counts what there is, and the machines of others", () => {
    const machines = [
      machine("m1"),
      machine("m2", { state: "asked" }),
      machine("s", { pool: "static", provider: "static" }),
    ];
    expect(decide({ ...jobs(4), machines }).pools[0]).toMatchObject({ desired: 3, ask: 1 });
  });

  it("does not count machines that are given no work, and has them within the pool's limit", () => {
    const machines = [machine("m1"), machine("m2")];
    const signsOf = (id: string): MachineSigns => ({ ...idleFor(0), isSetAside: id === "m1" });
    expect(decide({ ...jobs(2), machines, signsOf }).pools[0]).toMatchObject({ ask: 1 });
    const rules = policy({ pools: [pool("a", { max: 2 })] });
    expect(decide({ ...jobs(2), machines, signsOf }, rules).pools[0]).toMatchObject({ ask: 0 });
  });

  it("keeps the least that is asked for, and starts instances by the machine", () => {
    const rules = policy({ pools: [pool("a", { min: 1, instancesPerMachine: 8 })] });
    expect(decide({}, rules).pools[0]).toMatchObject({ desired: 1, ask: 1 });
    expect(decide(jobs(9), rules).pools[0]).toMatchObject({ desired: 2, ask: 2 });
  });

  it.each<[string, Partial<FleetFacts>, Partial<FleetPolicy>, number, RegExp]>([
    [
      "an open breaker",
      { breaker: { state: "open", probeAt: null } },
      {},
      0,
      /the breaker is open/,
    ],
    [
      "a half-open one, to one",
      { breaker: { state: "half_open", probeAt: null } },
      {},
      1,
      /one at a time/,
    ],
    [
      "one whose probes failed",
      { breaker: { state: "half_open", probeAt: NOW + 60_000 } },
      {},
      0,
      /tried at 1970-01-01T02:47:40\.000Z/,
    ],
    ["the budget", {}, { budgetPerHour: 5 }, 2, /the budget of 5 \$\/h/],
    ["a gradual start", {}, { startAtOnce: 1 }, 1, /gradually/],
    ["a pool that is blocked", { blockedPools: new Map([["a", "no capacity"]]) }, {}, 0, /no cap/],
  ])("is held back by %s", (_, facts, rules, ask, held) => {
    const [decision] = decide(
      { ...jobs(4), ...facts },
      policy({ pools: [pool("a", { min: 4 })], ...rules }),
    ).pools;
    expect(decision?.ask).toBe(ask);
    expect(decision?.held).toMatch(held);
  });

  it("goes on with the next pool where one is blocked", () => {
    const blockedPools = new Map([["a", "none left"]]);
    expect(decide({ ...jobs(3), blockedPools }).pools).toMatchObject([
      { pool: "a", desired: 0, ask: 0, held: "none left" },
      { pool: "b", desired: 3, ask: 3 },
    ]);
  });

  it("goes on with the next pool where one is blocked that should always have a machine", () => {
    const blockedPools = new Map([["a", "status 401"]]);
    const rules = policy({ pools: [pool("a", { min: 1 }), pool("b", { max: 3 })] });
    const asked = machine("m1", { state: "asked", ref: null, createdAt: null, healthyAt: null });
    for (const machines of [[], [asked]]) {
      expect(decide({ ...jobs(8), blockedPools, machines }, rules).pools).toMatchObject([
        { pool: "a", desired: 1, ask: 0 },
        { pool: "b", desired: 3, ask: 3 },
      ]);
    }
    // What serves there serves on.
    const living = { ...jobs(3), blockedPools, machines: [machine("m1")] };
    expect(decide(living, rules).pools[1]).toMatchObject({ desired: 2 });
  });

  it("goes on with the next pool where the budget or people keep the one before from starting", () => {
    const dear = pool("a", { pricePerHour: 10 });
    const rules = policy({ budgetPerHour: 5, pools: [dear, pool("b", { pricePerHour: 0 })] });
    expect(decide(jobs(2), rules).pools[1]).toMatchObject({ desired: 2, ask: 2 });
    const unknown = { ...dear, pricePerHour: null };
    expect(
      decide(jobs(2), { ...rules, pools: [unknown, pool("b", { pricePerHour: 0 })] }).pools[1],
    ).toMatchObject({ ask: 2 });
    const machines = ["m1", "m2", "m3", "m4"].map((id) => machine(id));
    const signsOf = (): MachineSigns => ({ ...idleFor(0), isSetAside: true });
    expect(decide({ ...jobs(2), machines, signsOf }).pools[1]).toMatchObject({ ask: 2 });
  });

  it("gives pools that may start what blocked ones cannot take, whichever those are", () => {
    const anyPool = fc.record({
      min: fc.integer({ min: 0, max: 3 }),
      more: fc.integer({ min: 0, max: 5 }),
      each: fc.integer({ min: 1, max: 3 }),
      isBlocked: fc.boolean(),
      made: fc.integer({ min: 0, max: 4 }),
      unmade: fc.integer({ min: 0, max: 2 }),
    });
    fc.assert(
      fc.property(
        fc.array(anyPool, { minLength: 1, maxLength: 5 }),
        fc.integer({ min: 0, max: 40 }),
        (drawn, waiting) => {
          const pools = drawn.map(({ min, more, each }, index) =>
            pool(`p${index}`, { min, max: min + more, instancesPerMachine: each }),
          );
          const machines = drawn.flatMap(({ made, unmade }, index) => {
            const own = { pool: `p${index}` };
            const asked = { ...own, state: "asked", ref: null, createdAt: null } as const;
            const { max } = pools[index] as PoolPolicy;
            return [
              ...Array.from({ length: Math.min(max, made) }, (_, at) =>
                machine(`m${index}-${at}`, own),
              ),
              ...Array.from({ length: unmade }, (_, at) => machine(`u${index}-${at}`, asked)),
            ];
          });
          const blockedPools = new Map(
            drawn.flatMap(({ isBlocked }, index) => (isBlocked ? [[`p${index}`, "away"]] : [])),
          );
          // Jobs longer than the target: an instance each.
          const { demand } = jobs(waiting);
          const decision = decide({ machines, blockedPools, demand }, policy({ pools }));
          let served = 0;
          let isRoomLeft = false;
          for (const [index, { desired }] of decision.pools.entries()) {
            const { isBlocked, each, made } = drawn[index] as (typeof drawn)[number];
            const { max } = pools[index] as PoolPolicy;
            served += (isBlocked ? Math.min(desired, made, max) : desired) * each;
            isRoomLeft ||= !isBlocked && desired < max;
          }
          expect(served >= waiting || !isRoomLeft).toBe(true);
        },
      ),
    );
  });

  it("asks for none whose price is unknown under a budget", () => {
    const rules = policy({ budgetPerHour: 10, pools: [pool("a", { pricePerHour: null })] });
    expect(decide(jobs(1), rules).pools[0]).toMatchObject({
      ask: 0,
      held: expect.stringContaining("pricePerHour"),
    });
  });

  it("replaces at once those that worked and were lost, however gradually machines are started", () => {
    const lost = (id: string, ago: number, healthyAt: number | null) => ({
      machineId: id,
      spawnedAt: 0,
      healthyAt,
      end: { at: NOW - ago, cause: "failed", kind: "no_heartbeat" } as const,
    });
    const rules = policy({ startAtOnce: 1, pools: [pool("a", { min: 4 })] });
    const askFor = (lifespans: FleetFacts["lifespans"], machines: FleetFacts["machines"] = []) =>
      decide({ lifespans, machines }, rules).pools[0]?.ask;
    const worked = [lost("m1", 2_000, 5), lost("m2", 2_000, 5)];
    // Each of them came up once: that allows three by itself, and their replacements come on top.
    expect(askFor(worked)).toBe(4);
    const starting = machine("m3", { state: "starting", healthyAt: null });
    expect(askFor(worked, [starting, { ...starting, id: "m4" }, { ...starting, id: "m5" }])).toBe(
      1,
    );
    // One that never came up is no loss of work, and so is none that was long ago.
    expect(askFor([lost("m1", 2_000, null), lost("m2", 120_000, null)])).toBe(1);
  });

  it("makes room for the replacement of one that is being ended, not of one that is to be", () => {
    const end = { at: NOW, cause: "failed", kind: "crash", reason: "" } as const;
    const ending = machine("m1", { state: "ending", end });
    const rules = policy({ pools: [pool("a", { max: 1 })] });
    expect(decide({ ...jobs(1), machines: [ending] }, rules).pools[0]).toMatchObject({
      ask: 0,
      held: expect.stringContaining("may have 1 machines"),
    });
    const told = { ...ending, terminatedAt: NOW };
    expect(decide({ ...jobs(1), machines: [told] }, rules).pools[0]).toMatchObject({ ask: 1 });
  });
});

describe("which machines end", () => {
  it("ends those without a job for the cool-down, the longest first, and no more than are left over", () => {
    const machines = ["m1", "m2", "m3"].map((id) => machine(id));
    const idle: Readonly<Record<string, number>> = { m1: 700_000, m2: 900_000, m3: 1_000 };
    const signsOf = (id: string): MachineSigns => idleFor(idle[id] ?? 0);
    expect(decide({ machines, signsOf }).drain).toEqual(["m2", "m1"]);
    expect(decide({ ...jobs(2), machines, signsOf }).drain).toEqual(["m2"]);
  });

  it("keeps one that was to end before it asks for another", () => {
    const machines = [machine("m1", { state: "draining", drainingSince: NOW })];
    const decision = decide({ ...jobs(2), machines });
    expect(decision.keep).toEqual(["m1"]);
    expect(decision.pools[0]).toMatchObject({ desired: 2, ask: 1 });
  });

  it("leaves machines of a pool that is not in the settings any more, and others', alone", () => {
    const machines = [
      machine("m1", { pool: "gone" }),
      machine("m2", { pool: "static", provider: "static" }),
    ];
    expect(decide({ machines })).toMatchObject({ drain: [], drop: [] });
  });

  it("drops what was asked for, is surely not made, and is not needed any more", () => {
    const asked = { state: "asked", ref: null, createdAt: null, healthyAt: null } as const;
    const machines = [
      machine("m1", asked),
      machine("m2", { ...asked, unsureUntil: NOW + 1 }),
      machine("m3", asked),
    ];
    expect(decide({ machines }).drop).toEqual(["m1", "m3"]);
    expect(decide({ ...jobs(2), machines }).drop).toEqual(["m1"]);
  });

  it("drops what was asked for in a pool that is blocked: what cannot be asked is no failure", () => {
    const asked = { state: "asked", ref: null, createdAt: null, healthyAt: null } as const;
    const machines = [machine("m1", asked), machine("m2", { ...asked, unsureUntil: NOW + 1 })];
    const blockedPools = new Map([["a", "it does not answer"]]);
    const rules = policy({ pools: [pool("a", { min: 2 })] });
    expect(decide({ machines, blockedPools }, rules).drop).toEqual(["m1"]);
    expect(decide({ machines }, rules).drop).toEqual([]);
  });

  it("lets another pool start while one is asked in vain", () => {
    const waiting = machine("m1", { state: "asked", ref: null, unsureUntil: NOW + 1 });
    const blockedPools = new Map([["a", "it does not answer"]]);
    const facts = { ...jobs(4), machines: [waiting], blockedPools };
    expect(decide(facts, policy({ startAtOnce: 1 })).pools[1]).toMatchObject({ ask: 1 });
  });
});

describe("machines that nobody has written down", () => {
  const listed = (name: string, ref: string, more: Partial<ProvidedMachine> = {}) => ({
    ref,
    name,
    state: "running" as const,
    reason: null,
    offer: null,
    pricePerHour: null,
    address: null,
    createdAt: null,
    ...more,
  });
  const known = new Map([
    ["hf-1", "r1"],
    ["hf-2", null],
  ]);

  it("are ended, or written down when they serve; a second one of a name is ended", () => {
    const listing = toListing(NOW, [
      listed("hf-1", "r1"),
      listed("hf-1", "r9"),
      listed("hf-2", "r2"),
      listed("hf-3", "r3"),
      listed("hf-4", "r4"),
      listed("hf-5", "r5", { state: "ended" }),
    ]);
    const found = decideUnknown(listing, known, (name) => name === "hf-4");
    expect(found.end.map(({ ref }) => ref)).toEqual(["r9", "r3"]);
    expect(found.adopt.map(({ ref }) => ref)).toEqual(["r4"]);
  });
});
