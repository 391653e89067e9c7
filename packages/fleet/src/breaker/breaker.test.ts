import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FAILURE_KINDS, type Lifespan } from "../lifespan.ts";
import { lookAtBreaker, NEW_BREAKER, spawnAllowance, type BreakerMemory } from "./breaker.ts";
import { rateText, reasonText } from "./breaker-words.ts";
import type { BreakerState } from "./standing.ts";
import { DEFAULT_BREAKER_POLICY, policyProblems, type BreakerPolicy } from "./policy.ts";

const MINUTE = 60_000;
const T0 = Date.parse("2026-01-31T12:00:00Z");
const at = (minutes: number): number => T0 + minutes * MINUTE;
const policy = DEFAULT_BREAKER_POLICY;

const machine = (
  machineId: string,
  spawnedAt: number,
  more: Partial<Lifespan> & { readonly failedAt?: number; readonly endedAt?: number } = {},
): Lifespan => {
  const { failedAt, endedAt, healthyAt = null } = more;
  const end =
    failedAt !== undefined
      ? ({ at: failedAt, cause: "failed", kind: "no_start" } as const)
      : endedAt !== undefined
        ? ({ at: endedAt, cause: "intended", kind: null } as const)
        : null;
  return { machineId, spawnedAt, healthyAt, end };
};

/** Seven machines, six of them failed a minute after the other, from minute 5 on. */
const story = (end: "failedAt" | "endedAt"): readonly Lifespan[] => [
  machine("m0", at(0), { healthyAt: at(1) }),
  ...Array.from({ length: 6 }, (_, index) =>
    machine(`m${index + 1}`, at(0), { [end]: at(5 + index) }),
  ),
];

describe("the story of C2", () => {
  it("blocks at 85.7 %, and forecasts to the second when it ends", () => {
    const { view } = lookAtBreaker(story("failedAt"), policy, at(11));
    expect(rateText(view, policy.windowMs)).toBe("85.7% (6/7 machines in last 30 minutes)");
    expect(view).toMatchObject({ state: "open", isChecked: true, since: at(10) });
    expect(reasonText(view, policy)).toContain("at or over the threshold of 80%");
    expect(view.causes).toMatchObject({ no_start: 6, crash: 0 });
    // Six of seven, then five of six (83 %), then four of five: 80 % is at the threshold. Then three of
    // four are too few to tell.
    expect(view.timeline).toEqual([
      { at: at(35), rate: 5 / 6 },
      { at: at(36), rate: 4 / 5 },
      { at: at(37), rate: 3 / 4 },
      { at: at(38), rate: 2 / 3 },
      { at: at(39), rate: 1 / 2 },
      { at: at(40), rate: 0 },
    ]);
    expect(view.resumesAt).toBe(at(37));
  });

  it("resumes at that instant without a hand, with one machine until it is healthy", () => {
    const before = lookAtBreaker(story("failedAt"), policy, at(37) - 1);
    expect(before.view.state).toBe("open");
    const there = lookAtBreaker(story("failedAt"), policy, at(37), before.memory);
    expect(there.view).toMatchObject({ state: "half_open", resumesAt: null, since: at(37) });
    expect(spawnAllowance(there.view, 0)).toBe(1);
    expect(spawnAllowance(there.view, 1)).toBe(0);
    const probed = [...story("failedAt"), machine("m7", at(37), { healthyAt: at(39) })];
    expect(lookAtBreaker(probed, policy, at(39) - 1, there.memory).view.state).toBe("half_open");
    const { view } = lookAtBreaker(probed, policy, at(39), there.memory);
    expect(view.state).toBe("closed");
    expect(spawnAllowance(view, 3)).toBe(Infinity);
  });

  it("is not blocked when the same six ended on purpose", () => {
    const { view } = lookAtBreaker(story("endedAt"), policy, at(11));
    expect(view).toMatchObject({ state: "closed", rate: 0, failed: 0, seen: 7, timeline: [] });
    expect(view.since).toBeNull();
  });
});

describe("the breaker", () => {
  it("checks nothing with fewer machines than the minimum", () => {
    const four = story("failedAt").slice(1, 5);
    const { view } = lookAtBreaker(four, policy, at(20));
    expect(view).toMatchObject({ state: "closed", rate: 1, isChecked: false });
    expect(reasonText(view, policy)).toBe(
      "4 of the 5 machines that a check needs were seen in the last 30 minutes",
    );
  });

  it("opens again when the probe fails, and stays half-open while that leaves the rate under", () => {
    const five = Array.from({ length: 5 }, (_, n) => machine(`m${n}`, at(0), { failedAt: at(n) }));
    const probe = machine("probe", at(30), { failedAt: at(30.5) });
    expect(lookAtBreaker(five, policy, at(30)).view.state).toBe("half_open");
    expect(lookAtBreaker([...five, probe], policy, at(30.5)).view.state).toBe("open");
    const lenient = { ...policy, minimum: 6 };
    const six = [machine("m5", at(0), { failedAt: at(0) }), ...five];
    expect(lookAtBreaker([...six, probe], lenient, at(30.75)).view.state).toBe("half_open");
  });

  it("tries probes that fail in a row ever more seldom, and forgets them when one is healthy", () => {
    const five = Array.from({ length: 5 }, (_, n) => machine(`m${n}`, at(0), { failedAt: at(n) }));
    const probes = [30.5, 36, 70].map((minute) =>
      machine(`probe${minute}`, at(minute), { failedAt: at(minute + 1) }),
    );
    const look = (count: number, minute: number, more: readonly Lifespan[] = []) =>
      lookAtBreaker([...five, ...probes.slice(0, count), ...more], policy, at(minute)).view;
    expect(look(1, 35)).toMatchObject({ state: "half_open", probeAt: null });
    expect(look(2, 62)).toMatchObject({ state: "half_open", probeAt: at(67) });
    expect(spawnAllowance(look(2, 62), 0)).toBe(0);
    expect(look(2, 67)).toMatchObject({ state: "half_open", probeAt: null });
    expect(look(3, 72)).toMatchObject({ state: "half_open", probeAt: at(131) });
    // Whoever mends the cause clears what came of it, and need not wait.
    const cleared = lookAtBreaker(
      [...five, ...probes],
      { ...policy, clearedBefore: at(72) },
      at(72),
      lookAtBreaker([...five, ...probes], policy, at(71.5)).memory,
    );
    expect(cleared.view).toMatchObject({ state: "half_open", probeAt: null });
    const healthy = machine("well", at(131), { healthyAt: at(132) });
    expect(look(3, 140, [healthy])).toMatchObject({ state: "closed", probeAt: null });
  });

  it("is not proved by a machine that was healthy before", () => {
    const all = [
      machine("old", at(0), { healthyAt: at(1) }),
      ...Array.from({ length: 6 }, (_, n) => machine(`m${n}`, at(0), { failedAt: at(2) })),
    ];
    expect(lookAtBreaker(all, policy, at(60)).view.state).toBe("half_open");
  });

  it("forgets failures that were cleared, and takes a changed policy at once", () => {
    const { memory } = lookAtBreaker(story("failedAt"), policy, at(11));
    const cleared = { ...policy, clearedBefore: at(8) };
    const { view } = lookAtBreaker(story("failedAt"), cleared, at(12), memory);
    expect(view).toMatchObject({ failed: 3, seen: 4, state: "half_open", since: at(12) });
    const lenient = lookAtBreaker(story("failedAt"), { ...policy, threshold: 0.9 }, at(12), memory);
    expect(lenient.view.state).toBe("half_open");
    const short = lookAtBreaker(
      story("failedAt"),
      { ...policy, windowMs: 3 * MINUTE },
      at(12),
      memory,
    );
    expect(short.view).toMatchObject({ failed: 1, seen: 2, state: "half_open" });
  });

  it.each([
    [{ threshold: 1.5 }, /threshold: .*found 1\.5/],
    [{ threshold: Number.NaN }, /threshold: .*found NaN/],
    [{ threshold: 0 }, /threshold/],
    [{ windowMs: 0 }, /window: .*found 0/],
    [{ windowMs: Infinity }, /window/],
    [{ minimum: 0 }, /minimum: .*found 0/],
    [{ minimum: 2.5 }, /minimum/],
  ])("refuses %j", (wrong, words) => {
    expect(policyProblems({ ...policy, ...wrong }).join()).toMatch(words);
    expect(policyProblems(policy)).toEqual([]);
  });
});

/** Straight from the words of the contract, counting every machine anew. */
function oracle(
  lifespans: readonly Lifespan[],
  { windowMs, minimum, threshold, clearedBefore }: BreakerPolicy,
  now: number,
): { readonly seen: number; readonly failed: number; readonly isOver: boolean } {
  let seen = 0;
  let failed = 0;
  for (const { spawnedAt, end } of lifespans) {
    if (spawnedAt > now) continue;
    const isAlive = end === null || end.at > now;
    const isCleared =
      end?.cause === "failed" && clearedBefore !== null && end.at < clearedBefore && !isAlive;
    const isInWindow = end !== null && !isAlive && now - end.at < windowMs && !isCleared;
    if (isAlive || isInWindow) seen += 1;
    if (isInWindow && end.cause === "failed") failed += 1;
  }
  return { seen, failed, isOver: seen >= minimum && seen > 0 && failed / seen >= threshold };
}

/** Every whole second one after the other: all instants of the generated machines are whole seconds. */
function oracleState(lifespans: readonly Lifespan[], rules: BreakerPolicy, now: number) {
  let state: BreakerState = "closed";
  let wasTried = false;
  let isProved = false;
  for (let second = 0; second <= now; second += 1) {
    const { isOver } = oracle(lifespans, rules, second);
    const isCleared = (at: number): boolean =>
      rules.clearedBefore !== null && at < rules.clearedBefore;
    const isFailure = lifespans.some(
      ({ end }) => end?.cause === "failed" && end.at === second && !isCleared(second),
    );
    if (isFailure) isProved = false;
    if (wasTried && lifespans.some(({ healthyAt }) => healthyAt === second)) isProved = true;
    if (isOver) state = "open";
    else if (state !== "closed") state = isProved ? "closed" : "half_open";
    if (state === "half_open") wasTried = true;
    if (state === "closed") [wasTried, isProved] = [false, false];
  }
  return state;
}

const lifespanArb: fc.Arbitrary<Lifespan> = fc
  .record({
    spawnedAt: fc.nat(100),
    healthyAfter: fc.option(fc.nat(20)),
    endAfter: fc.option(fc.nat(60)),
    cause: fc.constantFrom("failed" as const, "intended" as const),
    kind: fc.constantFrom(...FAILURE_KINDS),
  })
  .map(({ spawnedAt, healthyAfter, endAfter, cause, kind }) => ({
    machineId: "m",
    spawnedAt,
    healthyAt: healthyAfter === null ? null : spawnedAt + healthyAfter,
    end:
      endAfter === null
        ? null
        : { at: spawnedAt + endAfter, cause, kind: cause === "failed" ? kind : null },
  }));
const policyArb: fc.Arbitrary<BreakerPolicy> = fc.record({
  threshold: fc.constantFrom(0.25, 0.5, 2 / 3, 0.8, 1),
  windowMs: fc.integer({ min: 1, max: 60 }),
  minimum: fc.integer({ min: 1, max: 6 }),
  clearedBefore: fc.option(fc.nat(120)),
});
const machinesArb = fc.array(lifespanArb, { maxLength: 12 });

it.each([
  [{ rate: 1, failed: 5, seen: 5 }, 90_000, "100.0% (5/5 machines in last 90 seconds)"],
  [{ rate: 0, failed: 0, seen: 1 }, MINUTE, "0.0% (0/1 machine in last 1 minute)"],
])("is told as %j over %s ms: %s", (counts, windowMs, words) => {
  expect(rateText(counts, windowMs)).toBe(words);
});

describe("against a count of every machine at every instant", () => {
  it("counts, decides and forecasts the same", () => {
    fc.assert(
      fc.property(machinesArb, policyArb, fc.nat(160), (machines, rules, now) => {
        const { view } = lookAtBreaker(machines, rules, now);
        const expected = oracle(machines, rules, now);
        expect(view).toMatchObject({ seen: expected.seen, failed: expected.failed });
        expect(view.state).toBe(oracleState(machines, rules, now));
        // What is known now, and nothing that comes.
        const known = machines
          .filter(({ spawnedAt }) => spawnedAt <= now)
          .map((one) => ({ ...one, end: one.end !== null && one.end.at <= now ? one.end : null }));
        for (const point of view.timeline) {
          const later = oracle(known, rules, point.at);
          expect(point.rate).toBe(later.seen === 0 ? 0 : later.failed / later.seen);
        }
        const first = Array.from({ length: 200 }, (_, after) => now + after).find(
          (instant) => !oracle(known, rules, instant).isOver,
        );
        expect(view.resumesAt).toBe(view.state === "open" ? first : null);
      }),
      { numRuns: 500 },
    );
  });

  it("does not depend on when somebody looked", () => {
    fc.assert(
      fc.property(machinesArb, policyArb, fc.array(fc.nat(160)), (machines, rules, looks) => {
        let memory: BreakerMemory = NEW_BREAKER;
        for (const now of [...looks, 160].toSorted((one, other) => one - other)) {
          memory = lookAtBreaker(machines, rules, now, memory).memory;
        }
        expect(memory).toEqual(lookAtBreaker(machines, rules, 160).memory);
      }),
    );
  });
});
