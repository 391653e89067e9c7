import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { PoolEvent } from "./model.ts";
import { machineLosses } from "./refills.ts";

const RANGE = { from: 1_000, to: 2_000 };
const machine = (
  name: string,
  healthyAt: number | null,
  failedAt: number | null = null,
): PoolEvent => ({
  pool: "gpu",
  name,
  reason: "lost",
  healthyAt,
  failedAt,
  endedAt: null,
});

describe("what took the place of a machine that failed", () => {
  it("is the next one of its pool that became healthy, each for one loss", () => {
    const losses = machineLosses(
      [
        machine("a", 500, 1_100),
        machine("b", 600, 1_200),
        machine("c", 1_300),
        machine("d", 1_150),
        { ...machine("other", 1_101), pool: "cheap" },
      ],
      RANGE,
    );
    expect(losses.map(({ name, lostAt, refilledAt }) => [name, lostAt, refilledAt])).toEqual([
      ["b", 1_200, 1_300],
      ["a", 1_100, 1_150],
    ]);
  });

  it("is nothing for one that never was healthy, ended on purpose, or failed before and was refilled", () => {
    const events = [
      machine("a", null, 1_100),
      { ...machine("b", 1_050), endedAt: 1_060 },
      machine("c", 100, 999),
    ];
    expect(machineLosses(events, RANGE)).toEqual([]);
  });

  it("is not waited for where the pool lacks none: it was given up", () => {
    const events = [machine("a", 500, 1_100), machine("b", 500, 1_200), machine("c", 500)];
    const of = (lacking: number, more: readonly PoolEvent[] = []) =>
      machineLosses([...events, ...more], RANGE, new Map([["gpu", lacking]])).map(
        ({ name, refilledAt, leftAt }) => [name, refilledAt, leftAt],
      );
    expect(of(2)).toEqual([
      ["b", null, null],
      ["a", null, null],
    ]);
    // What is missing is what was lost last; nobody asked for another one.
    expect(of(1)).toEqual([
      ["b", null, null],
      ["a", null, 1_100],
    ]);
    const shrunk = { ...machine("d", 600), endedAt: 1_500 };
    expect(of(0, [shrunk])).toEqual([
      ["b", null, 1_200],
      ["a", null, 1_500],
    ]);
  });

  it("is told of a failure before the range as long as it is missing", () => {
    const names = (lacking: number, ...events: readonly PoolEvent[]) =>
      machineLosses(events, RANGE, new Map([["gpu", lacking]])).map(({ name }) => name);
    const old = machine("old", 100, 900);
    expect(names(1, old)).toEqual(["old"]);
    expect(names(0, old)).toEqual([]);
    // It takes no machine from a loss of the range.
    const [recent, next] = [machine("recent", 500, 1_100), machine("next", 1_200)];
    expect(machineLosses([old, recent, next], RANGE, new Map([["gpu", 0]]))).toMatchObject([
      { name: "recent", refilledAt: 1_200 },
    ]);
    expect(names(1, old, machine("a", 950))).toEqual([]);
  });

  it("comes later than the loss, and no machine comes twice", () => {
    const event = fc.record({
      pool: fc.constantFrom("a", "b"),
      name: fc.string(),
      reason: fc.constant(null),
      healthyAt: fc.option(fc.integer({ min: 0, max: 3_000 })),
      failedAt: fc.option(fc.integer({ min: 0, max: 3_000 })),
      endedAt: fc.option(fc.integer({ min: 0, max: 3_000 })),
    });
    const lacking = fc.dictionary(fc.constantFrom("a", "b"), fc.nat({ max: 5 }));
    fc.assert(
      fc.property(fc.array(event), lacking, (events, lacks) => {
        const all = machineLosses(events, RANGE, new Map(Object.entries(lacks)));
        const losses = all.filter(({ lostAt }) => lostAt >= RANGE.from);
        const open = all.filter((one) => one.refilledAt === null && one.leftAt === null);
        const most = ["a", "b"].map((pool) => lacks[pool] ?? Infinity);
        expect(open.length).toBeLessThanOrEqual((most[0] ?? 0) + (most[1] ?? 0));
        for (const { lostAt, leftAt } of all)
          expect(leftAt ?? lostAt).toBeGreaterThanOrEqual(lostAt);
        const lost = events.filter(
          ({ healthyAt, failedAt }) =>
            healthyAt !== null && failedAt !== null && failedAt >= 1_000 && failedAt < 2_000,
        );
        expect(losses).toHaveLength(lost.length);
        const healthy = events.map((one) => one.healthyAt);
        for (const { lostAt, refilledAt } of losses) {
          if (refilledAt === null) continue;
          expect(refilledAt).toBeGreaterThan(lostAt);
          const times = losses.filter((one) => one.refilledAt === refilledAt).length;
          expect(healthy.filter((at) => at === refilledAt).length).toBeGreaterThanOrEqual(times);
        }
      }),
    );
  });
});
