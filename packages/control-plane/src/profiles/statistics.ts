/**
 * Running statistics of what runs of one cost take, in a fixed number of values. Pure.
 *
 * T1  Up to {@link SPREAD_MEMORY} values a mean and deviation are exact; after that old ones fade. Of what was
 *     measured by hand the mean alone is known: a deviation goes by what was learned.
 * T2  A peak is never under any of the last {@link PEAK_MEMORY} values, nor over all that were seen.
 */
import { z } from "zod";

const count = z.int().min(0);
const ms = z.number().min(0);

const spreadSchema = z.object({ count, mean: ms, variance: ms });
const peakSchema = z.object({
  /** Values that were seen in all. */
  count,
  /** Values of the present stretch, and the largest of them. */
  inStretch: count,
  largest: ms,
  /** The largest of the stretch before. */
  before: ms,
});

/** What is kept of a profile. */
export const statisticsSchema = z.object({
  /** Execution times of runs whose models were in memory. */
  warmMs: spreadSchema.nullable(),
  /** Of runs that had to load them first. */
  coldMs: spreadSchema.nullable(),
  /** Longest silences between two signs of progress, once there was one. */
  stepSilenceMs: peakSchema,
  /** Longest silences before the first sign of progress, by whether models had to be loaded. */
  warmLoadSilenceMs: peakSchema,
  coldLoadSilenceMs: peakSchema,
  /** Measured by hand alone. */
  loadMs: ms.nullable(),
  vramPeakBytes: count.nullable(),
});
/** See {@link statisticsSchema}. */
export type ProfileStatistics = z.infer<typeof statisticsSchema>;
/** A mean and how far values are from it. */
export type Spread = z.infer<typeof spreadSchema>;
/** The largest value of late. */
export type Peak = z.infer<typeof peakSchema>;

/** From so many values on a new one counts as one of so many. */
export const SPREAD_MEMORY = 64;
/** A peak remembers at least so many values, and at most twice as many. */
export const PEAK_MEMORY = 256;

const NO_PEAK: Peak = { count: 0, inStretch: 0, largest: 0, before: 0 };

/** Of a profile that nothing is known of. */
export const NO_STATISTICS: ProfileStatistics = {
  warmMs: null,
  coldMs: null,
  stepSilenceMs: NO_PEAK,
  warmLoadSilenceMs: NO_PEAK,
  coldLoadSilenceMs: NO_PEAK,
  loadMs: null,
  vramPeakBytes: null,
};

/** A spread with one value more (Welford, with a floor under the newest one's weight). */
export function addValue(spread: Spread | null, value: number): Spread {
  if (spread === null) return { count: 1, mean: value, variance: 0 };
  const weight = 1 / Math.min(spread.count + 1, SPREAD_MEMORY);
  const difference = value - spread.mean;
  return {
    count: spread.count + 1,
    mean: spread.mean + weight * difference,
    variance: (1 - weight) * (spread.variance + weight * difference * difference),
  };
}

/** A peak with one value more. */
export function addPeak(peak: Peak, value: number): Peak {
  const isFull = peak.inStretch >= PEAK_MEMORY;
  return {
    count: peak.count + 1,
    inStretch: isFull ? 1 : peak.inStretch + 1,
    largest: isFull ? value : Math.max(peak.largest, value),
    before: isFull ? peak.largest : peak.before,
  };
}

/** The largest value that a peak remembers; null when it has seen none. */
export function peakOf(peak: Peak): number | null {
  return peak.count === 0 ? null : Math.max(peak.largest, peak.before);
}

/** What an attempt tells of its run; undefined where it could not see it. */
export interface RunSample {
  readonly executeMs: number;
  /** Whether models had to be loaded. */
  readonly isCold: boolean | undefined;
  readonly loadSilenceMs: number | undefined;
  /** Undefined too when no step was ever counted. */
  readonly stepSilenceMs: number | undefined;
}

/** Statistics with one run more. */
export function addRun(statistics: ProfileStatistics, run: RunSample): ProfileStatistics {
  const { loadSilenceMs, stepSilenceMs } = run;
  // All of it came from ComfyUI's cache: it says nothing of what the work takes.
  const isOfCache =
    stepSilenceMs === undefined &&
    loadSilenceMs !== undefined &&
    statistics.stepSilenceMs.count > 0;
  if (isOfCache) return statistics;
  const isCold = run.isCold ?? statistics.warmMs === null;
  const times = isCold
    ? { coldMs: addValue(statistics.coldMs, run.executeMs) }
    : { warmMs: addValue(statistics.warmMs, run.executeMs) };
  const loads = isCold ? "coldLoadSilenceMs" : "warmLoadSilenceMs";
  return {
    ...statistics,
    ...times,
    ...(loadSilenceMs !== undefined &&
      run.isCold !== undefined && { [loads]: addPeak(statistics[loads], loadSilenceMs) }),
    ...(stepSilenceMs !== undefined && {
      stepSilenceMs: addPeak(statistics.stepSilenceMs, stepSilenceMs),
    }),
  };
}

/** What was measured by hand. */
export interface Measurement {
  readonly coldMs: number | null;
  readonly warmMs: number;
  readonly loadMs: number | null;
  readonly vramPeakBytes: number | null;
  readonly longestSilenceMs: number | null;
  readonly runs: number;
}

/** A spread with `count` values more of which the mean alone is known, each counting as one that was seen. */
function addMean(spread: Spread | null, mean: number, count: number): Spread {
  if (spread === null) return { count, mean, variance: 0 };
  const [old, young] = [Math.min(spread.count, SPREAD_MEMORY), Math.min(count, SPREAD_MEMORY)];
  const share = young / (old + young);
  const difference = mean - spread.mean;
  return {
    count: spread.count + count,
    mean: spread.mean + share * difference,
    variance: spread.variance + share * (1 - share) * difference * difference,
  };
}

/**
 * Statistics after a measurement. Its times count as so many runs beside those that were learned of, silences
 * where they are longer. `isRepeated`: its times were added before, and are not added once more, so that the
 * same measurement told twice changes nothing.
 */
export function withMeasurement(
  statistics: ProfileStatistics,
  measured: Measurement,
  isRepeated = false,
): ProfileStatistics {
  const { coldMs, warmMs, runs, longestSilenceMs: silenceMs } = measured;
  // A measurement does not say when the silence was: it may have been anywhere.
  const silence = (peak: Peak): Peak => {
    if (silenceMs === null) return peak;
    return {
      ...peak,
      count: Math.max(peak.count, runs),
      largest: Math.max(peak.largest, silenceMs),
    };
  };
  return {
    warmMs: isRepeated ? statistics.warmMs : addMean(statistics.warmMs, warmMs, runs),
    coldMs:
      isRepeated || coldMs === null ? statistics.coldMs : addMean(statistics.coldMs, coldMs, 1),
    stepSilenceMs: silence(statistics.stepSilenceMs),
    warmLoadSilenceMs: silence(statistics.warmLoadSilenceMs),
    coldLoadSilenceMs: silence(statistics.coldLoadSilenceMs),
    loadMs: measured.loadMs ?? statistics.loadMs,
    vramPeakBytes: measured.vramPeakBytes ?? statistics.vramPeakBytes,
  };
}

/** What a run takes as a rule: with its models in memory, where that is known. */
export function typicalMs(statistics: ProfileStatistics): number | null {
  return (statistics.warmMs ?? statistics.coldMs)?.mean ?? null;
}

/** Runs that its times are of. */
export function runsOf(statistics: ProfileStatistics): number {
  return (statistics.warmMs?.count ?? 0) + (statistics.coldMs?.count ?? 0);
}
