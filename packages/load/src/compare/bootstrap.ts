/**
 * How far a figure of a run might have come out otherwise by chance: the run is drawn anew from its own
 * samples, many times. Jobs that follow each other wait in one queue and are alike, so stretches of samples
 * are drawn, not single ones (circular block bootstrap, blocks of the cube root of the number): single ones
 * would make every difference look surer than it is.
 */
import { nextInt, type Random } from "@holdfast/runtime";

/** How often a run is drawn anew. */
export const RESAMPLES = 2_000;
/** Most samples that are drawn from; of more, one of each stretch stands for the stretch. */
export const BOOTSTRAP_SAMPLES_MAX = 20_000;

/** The value at each share in each redrawn run: `[resample][share]`, nearest rank. */
export function resampledQuantiles(
  values: Float64Array,
  shares: readonly number[],
  random: Random,
): readonly (readonly number[])[] {
  const thinned = oneOfEach(values, random);
  const { sorted, ranks } = ranked(thinned);
  const counts = new Uint32Array(sorted.length);
  return Array.from({ length: RESAMPLES }, () => {
    counts.fill(0);
    drawBlocks(ranks.length, random, (index) => {
      const rank = ranks[index] ?? 0;
      counts[rank] = (counts[rank] ?? 0) + 1;
    });
    return quantilesOf(sorted, counts, shares);
  });
}

/** The mean in each redrawn run. */
export function resampledMeans(values: Float64Array, random: Random): readonly number[] {
  const thinned = meanOfEach(values);
  return Array.from({ length: RESAMPLES }, () => {
    let sum = 0;
    drawBlocks(thinned.length, random, (index) => {
      sum += thinned[index] ?? 0;
    });
    return sum / thinned.length;
  });
}

/** The middle 95 % of what was drawn. */
export function middleOf(drawn: readonly number[]): {
  readonly low: number;
  readonly high: number;
} {
  const sorted = Float64Array.from(drawn).sort();
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
  return { low: at(0.025), high: at(0.975) };
}

/** The least value that at least this share of the values do not exceed. */
export function quantileOf(values: Float64Array, share: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[rankOf(share, sorted.length)] ?? Number.NaN;
}

function rankOf(share: number, length: number): number {
  return Math.max(1, Math.ceil(share * length)) - 1;
}

function drawBlocks(length: number, random: Random, take: (index: number) => void): void {
  const block = Math.max(1, Math.ceil(Math.cbrt(length)));
  let drawn = 0;
  while (drawn < length) {
    let index = nextInt(random, length);
    for (let n = 0; n < block && drawn < length; n += 1) {
      take(index);
      drawn += 1;
      index = index + 1 === length ? 0 : index + 1;
    }
  }
}

function ranked(values: Float64Array): { sorted: Float64Array; ranks: Uint32Array } {
  const order = Uint32Array.from(values, (_, index) => index);
  order.sort((a, b) => (values[a] ?? 0) - (values[b] ?? 0));
  const ranks = new Uint32Array(values.length);
  for (const [rank, index] of order.entries()) ranks[index] = rank;
  return { sorted: Float64Array.from(order, (index) => values[index] ?? 0), ranks };
}

/** `shares` from the least to the greatest. */
function quantilesOf(
  sorted: Float64Array,
  counts: Uint32Array,
  shares: readonly number[],
): readonly number[] {
  const found: number[] = [];
  let below = 0;
  let rank = -1;
  for (const share of shares) {
    const wanted = rankOf(share, sorted.length) + 1;
    while (below < wanted && rank + 1 < counts.length) {
      rank += 1;
      below += counts[rank] ?? 0;
    }
    found.push(sorted[rank] ?? Number.NaN);
  }
  return found;
}

/** By chance within each stretch: at even distances, a rhythm of the run could be met or missed. */
function oneOfEach(values: Float64Array, random: Random): Float64Array {
  if (values.length <= BOOTSTRAP_SAMPLES_MAX) return values;
  const step = values.length / BOOTSTRAP_SAMPLES_MAX;
  return Float64Array.from(
    { length: BOOTSTRAP_SAMPLES_MAX },
    (_, index) => values[Math.floor((index + random.next()) * step)] ?? 0,
  );
}

/** The mean of each stretch: the whole's mean stays what it was. */
function meanOfEach(values: Float64Array): Float64Array {
  if (values.length <= BOOTSTRAP_SAMPLES_MAX) return values;
  const step = Math.ceil(values.length / BOOTSTRAP_SAMPLES_MAX);
  return Float64Array.from({ length: Math.floor(values.length / step) }, (_, index) => {
    let sum = 0;
    for (let n = 0; n < step; n += 1) sum += values[index * step + n] ?? 0;
    return sum / step;
  });
}
