import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { assignRanks, VIRTUAL_TIME_LAG, type CallerStanding } from "./fair-rank.ts";

const nobody: ReadonlyMap<string, CallerStanding> = new Map();
const of = (owner: string, count: number, priority = 0) =>
  Array.from({ length: count }, () => ({ owner, priority }));

describe("ranks", () => {
  test("a caller's jobs follow one another from where the queue is served", () => {
    expect(assignRanks(of("ann", 3), nobody, () => 10)).toEqual([11, 12, 13]);
  });

  test("a small job comes right behind those served now, not behind a large backlog", () => {
    const backlog = assignRanks(of("ann", 1000), nobody, () => 0);
    const [small] = assignRanks(of("bob", 1), nobody, () => 300);
    expect(backlog.filter((rank) => rank > 300 && rank < (small ?? 0))).toHaveLength(0);
    expect(small).toBe(301);
  });

  test("a caller with waiting jobs goes on behind them", () => {
    const standings = new Map([["ann", { lastRank: 40, waiting: 10 }]]);
    expect(assignRanks(of("ann", 2), standings, () => 30)).toEqual([41, 42]);
  });

  test("what a caller cancelled is not held against it", () => {
    const gone = new Map([["ann", { lastRank: 100_000, waiting: 0 }]]);
    expect(assignRanks(of("ann", 1), gone, () => 5)).toEqual([6]);
    const almostGone = new Map([["ann", { lastRank: 100_000, waiting: 3 }]]);
    const [rank] = assignRanks(of("ann", 1), almostGone, () => 5);
    expect(rank).toBe(5 + 3 + VIRTUAL_TIME_LAG + 1);
  });

  test("each priority has a time of its own", () => {
    const ranks = assignRanks([...of("ann", 1, 1), ...of("bob", 1)], nobody, (priority) =>
      priority > 0 ? 500 : 10,
    );
    expect(ranks).toEqual([501, 11]);
  });
});

const standing = fc.record({
  lastRank: fc.nat(10_000),
  waiting: fc.nat(1_000),
});
const owner = fc.constantFrom("a", "b", "c");

test("ranks are after the time of their priority and grow for each caller", () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ owner, priority: fc.integer({ min: -2, max: 2 }) }), { maxLength: 50 }),
      fc.dictionary(owner, standing),
      fc.array(fc.nat(5_000), { minLength: 5, maxLength: 5 }),
      (jobs, standings, times) => {
        const time = (priority: number): number => times[priority + 2] ?? 0;
        const ranks = assignRanks(jobs, new Map(Object.entries(standings)), time);
        expect(ranks).toHaveLength(jobs.length);
        const last = new Map<string, number>();
        for (const [index, job] of jobs.entries()) {
          const rank = ranks[index] ?? 0;
          expect(rank).toBeGreaterThan(time(job.priority));
          expect(rank).toBeGreaterThan(last.get(job.owner) ?? 0);
          last.set(job.owner, rank);
        }
      },
    ),
  );
});

interface Waiting {
  readonly owner: string;
  readonly rank: number;
}

/** A queue that serves the smallest rank first, equal ranks in the order they came. */
function createQueue() {
  const queue: Waiting[] = [];
  const newest = new Map<string, number>();
  let now = 0;
  const waiting = (name: string): number => queue.filter((job) => job.owner === name).length;
  return {
    waiting,
    submit(name: string, count: number) {
      const standings = new Map(
        [...newest].map(([key, lastRank]) => [key, { lastRank, waiting: waiting(key) }]),
      );
      for (const rank of assignRanks(of(name, count), standings, () => now)) {
        const at = queue.findIndex((job) => job.rank > rank);
        queue.splice(at === -1 ? queue.length : at, 0, { owner: name, rank });
        newest.set(name, rank);
      }
    },
    serve(): string | undefined {
      const job = queue.shift();
      now = Math.max(now, job?.rank ?? 0);
      return job?.owner;
    },
  };
}

test("two callers who wait all the time get the same service, but for two jobs", () => {
  const step = fc.oneof(
    fc.record({ owner, submit: fc.integer({ min: 1, max: 60 }) }),
    fc.record({ owner: fc.constant(""), submit: fc.integer({ min: -60, max: -1 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const queue = createQueue();
      let ahead = new Map<string, number>();
      for (const { owner: name, submit } of steps) {
        if (submit > 0) queue.submit(name, submit);
        for (let left = -submit; left > 0; left -= 1) {
          // Counting begins anew whenever one of the two had nothing to wait for.
          if (queue.waiting("a") === 0 || queue.waiting("b") === 0) ahead = new Map();
          const served = queue.serve();
          if (served === undefined) break;
          if (queue.waiting("a") === 0 || queue.waiting("b") === 0) continue;
          ahead.set(served, (ahead.get(served) ?? 0) + 1);
          expect(Math.abs((ahead.get("a") ?? 0) - (ahead.get("b") ?? 0))).toBeLessThanOrEqual(2);
        }
      }
    }),
    { numRuns: 300 },
  );
});
