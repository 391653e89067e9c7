import type { Sample } from "@holdfast/alerts";
import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, it } from "vitest";
import { SILENT_LOG } from "../platform/log.ts";
import { createObserver, type SampleSource } from "./sources.ts";

const sample = (metric: string, value: number): Sample => ({ metric, labels: {}, value });
const source = (name: string, read: SampleSource["read"], everyMs = 0): SampleSource => ({
  name,
  metrics: [name],
  everyMs,
  read,
});
const NONE: ReadonlySet<string> = new Set();

it("tells what the sources tell, and nothing of one that fails or does not answer", async () => {
  const clock = createFakeClock();
  let isWell = false;
  const observer = createObserver({
    clock,
    log: SILENT_LOG,
    metricSamples: async () => ({ told: [], samples: [] }),
    sources: [
      source("good", async () => [sample("good", 1)]),
      source("empty", async () => []),
      source("bad", async () => {
        throw new Error("no");
      }),
      source("slow", () => (isWell ? Promise.resolve([]) : new Promise(() => undefined))),
    ],
  });
  const first = observer.observe(NONE);
  await clock.advance(3_000);
  expect(await first).toEqual({ told: ["good", "empty"], samples: [sample("good", 1)] });
  isWell = true;
  expect((await observer.observe(NONE)).told).toEqual(["good", "empty", "slow"]);
  expect(clock.sleeperCount()).toBe(0);
});

it("asks a source again when what it told is as old as it may be", async () => {
  const clock = createFakeClock();
  let asked = 0;
  const sources = [
    source(
      "disk",
      async () => {
        asked += 1;
        return [sample("disk", asked)];
      },
      30_000,
    ),
  ];
  const metricSamples = async () => ({ told: [], samples: [] });
  const observer = createObserver({ clock, log: SILENT_LOG, metricSamples, sources });
  const seen: number[] = [];
  for (let tick = 0; tick < 5; tick += 1) {
    seen.push((await observer.observe(NONE)).samples[0]?.value ?? 0);
    await clock.advance(10_000);
  }
  expect(seen).toEqual([1, 1, 1, 2, 2]);
});

it("asks /metrics for what no source tells, and only when something is wanted of it", async () => {
  const asked: string[][] = [];
  const observer = createObserver({
    clock: createFakeClock(),
    log: SILENT_LOG,
    sources: [source("good", async () => [])],
    metricSamples: async (names) => {
      asked.push([...names]);
      return { told: ["holdfast_jobs"], samples: [sample("holdfast_jobs", 3)] };
    },
  });
  await observer.observe(new Set(["good", "error_budget_burn_rate"]));
  expect(asked).toEqual([]);
  expect(await observer.observe(new Set(["good", "holdfast_jobs"]))).toEqual({
    told: ["good", "holdfast_jobs"],
    samples: [sample("holdfast_jobs", 3)],
  });
  expect(asked).toEqual([["holdfast_jobs"]]);
});
