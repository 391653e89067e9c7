/** What a comparison needs of a run's samples: latencies and ends, nothing else. */
import type { JobSample } from "../sample/job-sample.ts";
import { countOutcome, endedOf, noCounts } from "../summary/counts.ts";
import { hasLatency } from "../summary/phase-histograms.ts";

/** Samples of one run, of its steady state. */
export interface KeptSamples {
  /** In any order. */
  add(sample: JobSample): void;
  facts(): KeptFacts;
}

/** What was kept. */
export interface KeptFacts {
  /** Latencies in the order of their ends, ms; what timed out counts with the time it had by then. */
  readonly latenciesMs: Float64Array;
  /** Between two completions in the order of time; the first since the first job began. */
  readonly gapsMs: Float64Array;
  readonly completed: number;
  /** Jobs that ended by themselves. */
  readonly ended: number;
}

/** 24 bytes a job, some 240 MB for the longest run: gaps between ends need all of them in order. */
const FIRST_LENGTH = 1_024;

/** Nothing kept yet. */
export function createKeptSamples(): KeptSamples {
  let latencies = new Float64Array(FIRST_LENGTH);
  let ends = new Float64Array(FIRST_LENGTH);
  const completions: number[] = [];
  const counts = noCounts();
  let length = 0;
  let firstBegunMs = Number.POSITIVE_INFINITY;
  return {
    add(sample) {
      if (sample.warmUp) return;
      countOutcome(counts, sample.outcome);
      firstBegunMs = Math.min(firstBegunMs, sample.begunMs);
      if (sample.outcome === "completed") completions.push(sample.endedMs);
      if (!hasLatency(sample)) return;
      if (length === latencies.length) {
        latencies = grown(latencies);
        ends = grown(ends);
      }
      latencies[length] = sample.endedMs - sample.intendedMs;
      ends[length] = sample.endedMs;
      length += 1;
    },
    facts() {
      const order = Uint32Array.from({ length }, (_, index) => index);
      order.sort((a, b) => (ends[a] ?? 0) - (ends[b] ?? 0));
      const sorted = Float64Array.from(completions).sort();
      return {
        latenciesMs: Float64Array.from(order, (index) => latencies[index] ?? 0),
        gapsMs: sorted.map((end, index) => end - (sorted[index - 1] ?? firstBegunMs)),
        completed: counts.completed,
        ended: endedOf(counts),
      };
    },
  };
}

function grown(values: Float64Array): Float64Array<ArrayBuffer> {
  const longer = new Float64Array(values.length * 2);
  longer.set(values);
  return longer;
}
