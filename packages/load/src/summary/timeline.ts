/** A run over time, for plots: at most 600 stretches, however long it was. */
import type { GpuSample } from "../sample/gpu-sample.ts";
import { threeDigits, type JobSample } from "../sample/job-sample.ts";
import { createHistogram, type Histogram } from "./histogram.ts";
import { GPUS_MAX } from "./gpus.ts";
import { hasLatency, totalMicros } from "./phase-histograms.ts";
import type { LoadTimeline } from "./timeline-model.ts";
import { createTimeBuckets } from "./time-buckets.ts";

/** Most stretches of a timeline: more than a plot has room for. */
export const TIMELINE_BUCKETS_MAX = 600;
const FIRST_WIDTH_MS = 1_000;
const MS_PER_SECOND = 1_000;
const MICROS_PER_MS = 1_000;

/** A timeline that grows with a run. */
export interface TimelineCounts {
  add(sample: JobSample): void;
  addGpu(sample: GpuSample): void;
  list(): LoadTimeline;
}

interface GpuLook {
  sum: number;
  looks: number;
  memoryMb: number | null;
}

interface Bucket {
  begun: number;
  completed: number;
  failed: number;
  outputs: number;
  readonly total: Histogram;
  readonly gpus: Map<number, GpuLook>;
}

/** Nothing has happened yet. */
export function createTimeline(): TimelineCounts {
  const stretches = createTimeBuckets<Bucket>({
    widthMs: FIRST_WIDTH_MS,
    bucketsMax: TIMELINE_BUCKETS_MAX,
    make: () => ({
      begun: 0,
      completed: 0,
      failed: 0,
      outputs: 0,
      total: createHistogram(5),
      gpus: new Map(),
    }),
    merge,
  });
  return {
    add(sample) {
      stretches.at(sample.begunMs).begun += 1;
      const ending = stretches.at(sample.endedMs);
      if (sample.outcome === "completed") ending.completed += 1;
      else ending.failed += 1;
      ending.outputs += sample.outputs;
      if (hasLatency(sample)) ending.total.record(totalMicros(sample));
    },
    addGpu({ atMs, gpu, utilisationPercent, memoryUsedMb }) {
      const { gpus } = stretches.at(atMs);
      const look = gpus.get(gpu) ?? { sum: 0, looks: 0, memoryMb: null };
      if (!gpus.has(gpu) && gpus.size >= GPUS_MAX) return;
      gpus.set(gpu, look);
      addLook(look, {
        sum: utilisationPercent ?? 0,
        looks: utilisationPercent === null ? 0 : 1,
        memoryMb: memoryUsedMb,
      });
    },
    list: () => toTimeline(stretches.list(), stretches.widthMs() / MS_PER_SECOND),
  };
}

function merge(into: Bucket, other: Bucket): void {
  into.begun += other.begun;
  into.completed += other.completed;
  into.failed += other.failed;
  into.outputs += other.outputs;
  into.total.merge(other.total);
  for (const [gpu, look] of other.gpus) {
    const known = into.gpus.get(gpu);
    if (known === undefined) into.gpus.set(gpu, look);
    else addLook(known, look);
  }
}

function addLook(into: GpuLook, look: GpuLook): void {
  into.sum += look.sum;
  into.looks += look.looks;
  if (look.memoryMb !== null) into.memoryMb = Math.max(look.memoryMb, into.memoryMb ?? 0);
}

function toTimeline(buckets: readonly Bucket[], bucketSeconds: number): LoadTimeline {
  let inFlight = 0;
  return {
    bucketSeconds,
    buckets: buckets.map(({ begun, completed, failed, outputs, total, gpus }, index) => {
      inFlight += begun - completed - failed;
      return {
        fromSeconds: index * bucketSeconds,
        begun,
        completed,
        failed,
        outputs,
        inFlight,
        p50Ms: quantileMs(total, 0.5),
        p95Ms: quantileMs(total, 0.95),
        gpu: [...gpus]
          .sort(([a], [b]) => a - b)
          .map(([gpu, { sum, looks, memoryMb }]) => ({
            gpu,
            utilisationPercent: looks === 0 ? null : sum / looks,
            memoryMb,
          })),
      };
    }),
  };
}

function quantileMs(total: Histogram, share: number): number | null {
  const micros = total.quantile(share);
  return micros === null ? null : threeDigits(micros / MICROS_PER_MS);
}
