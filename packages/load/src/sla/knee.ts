/**
 * Where more jobs at a time stop bringing more: the first level after which no later one gains, for each
 * unit more, a tenth of what the first level's units brought.
 *
 * Not Kneedle: it looks for the point of most curvature of a smoothed curve, and needs a sensitivity. Of
 * four to eight measured levels both are guesses, and nobody can check them against a table by hand.
 */

/** What one level brought. */
export interface LevelThroughput {
  /** Jobs at a time, or a second. */
  readonly level: number;
  readonly throughputPerMinute: number;
}

/** Where the curve bends. */
export type Knee =
  | {
      readonly kind: "knee";
      readonly level: number;
      readonly throughputPerMinute: number;
      /** What each unit of the first level brought, a minute. */
      readonly firstGain: number;
      /** The most that a unit brought after the knee; negative where throughput falls. */
      readonly laterGain: number;
    }
  /** It still grows at the highest level that was measured. */
  | { readonly kind: "still_growing"; readonly level: number }
  | { readonly kind: "too_few_levels"; readonly needed: number };

/** Share of the first gain below which a level is flat. */
export const FLAT_SHARE = 0.1;
const LEVELS_NEEDED = 3;

/** The knee of a throughput by level. Of a level that was measured more than once the mean counts. */
export function kneeOf(measured: readonly LevelThroughput[]): Knee {
  const levels = byLevel(measured);
  const [first] = levels;
  const last = levels.at(-1);
  if (first === undefined || last === undefined || levels.length < LEVELS_NEEDED) {
    return { kind: "too_few_levels", needed: LEVELS_NEEDED };
  }
  const firstGain = first.throughputPerMinute / first.level;
  for (const [index, one] of levels.slice(0, -1).entries()) {
    // All later ones, not the next alone: one level that came out badly is no knee.
    const gains = levels.slice(index + 1).map((later) => gainOf(one, later));
    const laterGain = Math.max(...gains);
    if (laterGain < FLAT_SHARE * firstGain) {
      const { level, throughputPerMinute } = one;
      return { kind: "knee", level, throughputPerMinute, firstGain, laterGain };
    }
  }
  return { kind: "still_growing", level: last.level };
}

function gainOf(one: LevelThroughput, later: LevelThroughput): number {
  return (later.throughputPerMinute - one.throughputPerMinute) / (later.level - one.level);
}

function byLevel(measured: readonly LevelThroughput[]): readonly LevelThroughput[] {
  const sums = new Map<number, { sum: number; count: number }>();
  for (const { level, throughputPerMinute } of measured) {
    if (level <= 0) continue;
    const known = sums.get(level) ?? { sum: 0, count: 0 };
    sums.set(level, { sum: known.sum + throughputPerMinute, count: known.count + 1 });
  }
  return [...sums]
    .map(([level, { sum, count }]) => ({ level, throughputPerMinute: sum / count }))
    .sort((a, b) => a.level - b.level);
}
