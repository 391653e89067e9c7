/** What the cards did while a run went on. */
import type { GpuSample } from "../sample/gpu-sample.ts";
import { createHistogram, type Histogram } from "./histogram.ts";
import type { LoadSummary } from "./model.ts";

/** Most cards that are told apart; samples of others are left out. */
export const GPUS_MAX = 64;

/** What was seen of each card. */
export interface GpuCounts {
  add(sample: GpuSample): void;
  list(): LoadSummary["gpu"];
}

interface Seen {
  samples: number;
  readonly utilisation: Histogram;
  memoryPeakMb: number | null;
}

/** No card seen yet. */
export function createGpuCounts(): GpuCounts {
  const gpus = new Map<number, Seen>();
  return {
    add({ gpu, utilisationPercent, memoryUsedMb }) {
      if (!gpus.has(gpu) && gpus.size >= GPUS_MAX) return;
      const seen = gpus.get(gpu) ?? {
        samples: 0,
        utilisation: createHistogram(),
        memoryPeakMb: null,
      };
      gpus.set(gpu, seen);
      seen.samples += 1;
      if (utilisationPercent !== null) seen.utilisation.record(utilisationPercent);
      if (memoryUsedMb !== null) {
        seen.memoryPeakMb = Math.max(memoryUsedMb, seen.memoryPeakMb ?? 0);
      }
    },
    list: () =>
      [...gpus]
        .sort(([a], [b]) => a - b)
        .map(([gpu, { samples, utilisation, memoryPeakMb }]) => ({
          gpu,
          samples,
          utilisationPercent: percentOf(utilisation),
          memoryPeakMb,
        })),
  };
}

function percentOf(utilisation: Histogram): { p50: number; p95: number; max: number } | null {
  const p50 = utilisation.quantile(0.5);
  const p95 = utilisation.quantile(0.95);
  const max = utilisation.max();
  return p50 === null || p95 === null || max === null ? null : { p50, p95, max };
}
