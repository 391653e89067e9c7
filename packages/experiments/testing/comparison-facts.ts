/** Facts of a comparison page for tests. */
import type { ComparedRun, ComparisonFacts } from "../src/report/comparison-facts.ts";
import type { HealthRecord } from "../src/health.ts";

/** An instant so many minutes into the tests' day. */
export function minute(count: number): string {
  return new Date(Date.UTC(2026, 0, 2, 3, 0) + count * 60_000).toISOString();
}

/** A run that completed. */
export function comparedRun(index: number, over: Partial<ComparedRun> = {}): ComparedRun {
  return {
    index,
    name: `exp_${String(index).padStart(4, "0")}`,
    title: "castle_wide",
    seed: index * 7,
    values: { sampler: "euler", steps: 20 },
    set: [{ nodeId: "3", input: "steps", value: 20 }],
    status: "completed",
    startedAt: minute(index),
    endedAt: minute(index + 1),
    durationMs: 4_200,
    error: null,
    attempts: 1,
    earlier: [],
    recovery: [],
    loss: 0,
    metrics: {},
    images: [{ path: `images/exp_${index}.png`, width: 64, height: 64 }],
    ...over,
  };
}

/** Facts with these runs. */
export function comparisonFacts(over: Partial<ComparisonFacts> = {}): ComparisonFacts {
  return {
    name: "castle",
    specHash: "1a2b3c4d",
    writtenAt: minute(500),
    counts: { planned: 2, completed: 2, failed: 0, repeated: 0 },
    dimensions: [
      { name: "sampler", values: ["euler", "dpmpp_2m"] },
      { name: "steps", values: [20, 40, 80] },
    ],
    runs: [comparedRun(0), comparedRun(1)],
    healthChecks: [],
    best: [],
    ...over,
  };
}

/** One attempt of a health check of ComfyUI. */
export function healthCheck(at: string, experiment: number, isHealthy: boolean): HealthRecord {
  return {
    at,
    check: experiment === 0 ? "pre_flight" : "periodic",
    experiment,
    attempt: 1,
    decision: isHealthy ? "passed" : "wait",
    services: [
      {
        service: "ComfyUI",
        isHealthy,
        status: isHealthy ? "ok" : "unreachable",
        message: isHealthy ? "ComfyUI is healthy" : "Cannot connect to ComfyUI server",
      },
    ],
  };
}
