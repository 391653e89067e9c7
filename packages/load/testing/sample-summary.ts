/** A run's summary out of samples, with facts that no test depends on. */
import type { JobSample } from "../src/sample/job-sample.ts";
import { createLoadCollector } from "../src/summary/collector.ts";
import { toLoadSummary, type RunFacts } from "../src/summary/load-summary.ts";
import type { LoadSummary } from "../src/summary/model.ts";
import type { LoadTimeline } from "../src/summary/timeline-model.ts";

/** Facts of a run that asked a ComfyUI for three jobs. */
export const RUN_FACTS: RunFacts = {
  target: { kind: "comfyui", url: "http://127.0.0.1:8188", version: "0.3.64" },
  scenario: null,
  plan: {
    pace: "closed:1",
    seed: 1,
    workflows: [{ name: "small", hash: "abc", weight: 1 }],
    warmUp: { jobs: 1, forMs: 0 },
  },
  startedAt: Date.parse("2026-11-28T12:00:00Z"),
  asked: 3,
  neverBegun: 0,
  price: { perHour: 3_600, currency: "USD" },
  eventLoopP99Ms: 12,
  stoppedBecause: "jobs",
};

/** What these samples come to. */
export function summaryOf(
  samples: readonly JobSample[],
  facts: Partial<RunFacts> = {},
): { readonly summary: LoadSummary; readonly timeline: LoadTimeline } {
  const collector = createLoadCollector();
  for (const sample of samples) collector.add(sample);
  const summary = toLoadSummary({ ...RUN_FACTS, ...facts }, collector.measured());
  return { summary, timeline: collector.timeline() };
}

/** A sample that took a second and completed, unless told otherwise. */
export function jobSample({
  begunMs = 0,
  endedMs = begunMs + 1_000,
  ...more
}: Partial<JobSample> = {}): JobSample {
  return {
    index: 0,
    workflow: "small",
    level: 1,
    intendedMs: begunMs,
    begunMs,
    acceptedMs: begunMs + 10,
    startedMs: begunMs + 20,
    loadedMs: null,
    executedMs: endedMs - 100,
    endedMs,
    outcome: "completed",
    errorClass: null,
    retries: 0,
    changed: false,
    outputs: 2,
    bytes: 100,
    warmUp: false,
    ...more,
  };
}
