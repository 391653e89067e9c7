/** What a run in steps came to that found where its target is full, for reports. */
import { seededRandom } from "@holdfast/runtime";
import {
  compareLoads,
  DEFAULT_COMPARISON_POLICY,
  type Comparison,
} from "../src/compare/compare-runs.ts";
import { createKeptSamples, type KeptFacts } from "../src/compare/kept-samples.ts";
import type { JobSample } from "../src/sample/job-sample.ts";
import { createLoadCollector } from "../src/summary/collector.ts";
import { toLoadSummary } from "../src/summary/load-summary.ts";
import type { LoadSummary } from "../src/summary/model.ts";
import type { LoadTimeline } from "../src/summary/timeline-model.ts";
import { judgeSla, slaFactsOf, type SlaVerdict } from "../src/sla/verdict.ts";
import { DEFAULT_SLA } from "../src/sla/targets.ts";
import { jobSample, RUN_FACTS } from "./sample-summary.ts";

const LEVELS = [1, 2, 4, 8, 16];
const LEVEL_MS = 120_000;
const CARDS = 2;
/** Jobs at a time that it has room for. */
const ROOM = 5;
const WORKFLOWS = ["book_small", "book_medium", "book_large"];

/** A whole run; `slower`: 1.2 takes a fifth longer. */
export function steppedRun(slower = 1): {
  readonly summary: LoadSummary;
  readonly timeline: LoadTimeline;
  readonly kept: KeptFacts;
  readonly sla: SlaVerdict;
} {
  const collector = createLoadCollector({
    levels: LEVELS.map((level, at) => ({
      level,
      fromMs: at * LEVEL_MS,
      untilMs: (at + 1) * LEVEL_MS,
    })),
  });
  const kept = createKeptSamples();
  for (const sample of stepSamples(slower)) {
    collector.add(sample, sample.outcome === "completed" ? "" : EXAMPLES[sample.index % 2]);
    kept.add(sample);
  }
  const random = seededRandom(9);
  for (let atMs = 0; atMs < LEVELS.length * LEVEL_MS; atMs += 1_000) {
    const busy = Math.min(1, (LEVELS[Math.floor(atMs / LEVEL_MS)] ?? 1) / ROOM);
    for (let gpu = 0; gpu < CARDS; gpu += 1) {
      collector.addGpu({
        atMs,
        gpu,
        utilisationPercent: Math.max(0, 100 * busy - random.next() * 20 - gpu * 5),
        memoryUsedMb: 9_000 + busy * 5_000 + random.next() * 800,
        source: "nvidia-smi",
      });
    }
  }
  const summary = toLoadSummary(
    {
      ...RUN_FACTS,
      target: { kind: "holdfast", url: "http://render.example:8328", version: "0.1.0" },
      plan: {
        pace: `step:${LEVELS.join(",")}@120s`,
        seed: 7,
        workflows: WORKFLOWS.map((name, at) => ({ name, hash: `${at}f3a9c`, weight: 3 - at })),
        warmUp: { jobs: 2, forMs: 0 },
      },
      asked: null,
      stoppedBecause: "time",
    },
    collector.measured(),
  );
  return {
    summary,
    timeline: collector.timeline(),
    kept: kept.facts(),
    sla: judgeSla(DEFAULT_SLA.targets, slaFactsOf(summary)),
  };
}

/** That run against one that took otherwise long. */
export function steppedComparison(slower: number): Comparison {
  return compareLoads(steppedRun(1), steppedRun(slower), DEFAULT_COMPARISON_POLICY);
}

const EXAMPLES = [
  "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 15.77 GiB of which 1.02 GiB is free.",
  "no sign of progress for 420 s",
];

function stepSamples(slower: number): readonly JobSample[] {
  const random = seededRandom(3);
  const samples: JobSample[] = [];
  for (const [at, level] of LEVELS.entries()) {
    for (let lane = 0; lane < level; lane += 1) {
      let begunMs = at * LEVEL_MS + lane * 40;
      while (begunMs < (at + 1) * LEVEL_MS) {
        const index = samples.length;
        const size = index % WORKFLOWS.length;
        const workMs = slower * (2_500 + size * 2_000 + random.next() * 1_500);
        const queueMs = Math.max(0, level / ROOM - 1) * workMs;
        const isFailed = level === 16 && random.next() < 0.06;
        const startedMs = begunMs + 25 + queueMs;
        const loadMs = random.next() < 0.1 ? 1_800 : 60;
        const endedMs = startedMs + loadMs + workMs + 120;
        samples.push(
          jobSample({
            index,
            workflow: WORKFLOWS[size] ?? "",
            level,
            begunMs,
            acceptedMs: begunMs + 25,
            startedMs,
            loadedMs: startedMs + loadMs,
            executedMs: isFailed ? null : endedMs - 120,
            endedMs,
            outcome: isFailed ? "failed" : "completed",
            errorClass: isFailed ? (["cuda_out_of_memory", "stalled"][index % 2] ?? null) : null,
            outputs: isFailed ? 0 : 1,
            bytes: isFailed ? 0 : 1_400_000,
            retries: random.next() < 0.03 ? 1 : 0,
            warmUp: index < 2,
          }),
        );
        begunMs = endedMs;
      }
    }
  }
  return samples;
}
