import fc from "fast-check";
import { expect, it } from "vitest";
import { forecastJobs, type LiveJob, type WaitingJob } from "./forecast.ts";

const instances = (count: number) =>
  Array.from({ length: count }, (_, at) => ({ id: `i${at}`, kind: "k" }));
const waiting = (jobId: string, ms: number | null | undefined): WaitingJob => ({
  jobId,
  msOn: () => ms,
});
const live = (jobId: string, instanceId: string, remainingMs: number | null): LiveJob => ({
  jobId,
  instanceId,
  remainingMs,
});

it("adds up what runs, what is staged, and what waits", () => {
  const etas = forecastJobs(
    instances(2),
    [live("a", "i0", 500), live("b", "i0", 1_000), live("c", "i1", 3_000)],
    [waiting("d", 1_000), waiting("e", 1_000)],
  );
  expect(Object.fromEntries(etas)).toEqual({ a: 500, b: 1_500, c: 3_000, d: 2_500, e: 3_500 });
});

it("says nothing of what comes behind something unknown", () => {
  const one = instances(1);
  expect(forecastJobs(one, [live("a", "i0", null)], [waiting("b", 5)]).size).toBe(0);
  expect([...forecastJobs(one, [], [waiting("a", null), waiting("b", 5)])]).toEqual([]);
  // Another instance is free at a known time.
  expect([...forecastJobs(instances(2), [], [waiting("a", null), waiting("b", 5)])]).toEqual([
    ["b", 5],
  ]);
});

it("says nothing of what nobody can serve, and lets it hold up nobody", () => {
  const etas = forecastJobs(instances(1), [], [waiting("a", undefined), waiting("b", 5)]);
  expect([...etas]).toEqual([["b", 5]]);
});

it("gives each waiting job to the instance that is free first", () => {
  const job = fc.integer({ min: 1, max: 50 });
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5 }),
      fc.array(job, { maxLength: 8 }),
      fc.array(job, { maxLength: 30 }),
      (count, running, queue) => {
        const lives = running.map((ms, at) => live(`l${at}`, `i${at % count}`, ms));
        const etas = forecastJobs(
          instances(count),
          lives,
          queue.map((ms, at) => waiting(`w${at}`, ms)),
        );
        const free = Array.from({ length: count }, () => 0);
        for (const [at, ms] of running.entries()) free[at % count] = (free[at % count] ?? 0) + ms;
        for (const [at, ms] of queue.entries()) {
          const soonest = free.indexOf(Math.min(...free));
          free[soonest] = (free[soonest] ?? 0) + ms;
          expect(etas.get(`w${at}`)).toBe(free[soonest]);
        }
      },
    ),
  );
});
