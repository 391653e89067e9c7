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

  it("is nothing for one that never was healthy, ended on purpose, or failed before", () => {
    const events = [machine("a", null, 1_100), machine("b", 1_050), machine("c", 100, 999)];
    expect(machineLosses(events, RANGE)).toEqual([]);
  });

  it("comes later than the loss, and no machine comes twice", () => {
    const event = fc.record({
      pool: fc.constantFrom("a", "b"),
      name: fc.string(),
      reason: fc.constant(null),
      healthyAt: fc.option(fc.integer({ min: 0, max: 3_000 })),
      failedAt: fc.option(fc.integer({ min: 0, max: 3_000 })),
    });
    fc.assert(
      fc.property(fc.array(event), (events) => {
        const losses = machineLosses(events, RANGE);
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
