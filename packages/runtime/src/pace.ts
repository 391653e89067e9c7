/** How long a writer rests between two groups, by how many came together lately. */
export interface Pace {
  /** A group of so many was written. */
  note(count: number): void;
  /** Least time from the start of that group to the start of the next, in ms. */
  restMs(): number;
}

/** The rest of one who mostly writes alone, and the longest. */
export interface PaceLimits {
  readonly minMs: number;
  readonly maxMs: number;
}

/** Weight of the newest group in the mean. */
const NEWEST = 0.2;
/** Rest for each one beyond the first that a group had in the mean. */
const MS_PER_FURTHER = 40;

/**
 * A pace that gives way to load: whoever comes alone is hardly delayed, and the more come together, the
 * longer the next are waited for. A statement for five costs little more than one for one, so that under
 * load the database has more time for each.
 */
export function createPace({ minMs, maxMs }: PaceLimits): Pace {
  let mean = 1;
  return {
    note(count) {
      mean += (count - mean) * NEWEST;
    },
    restMs: () => Math.min(maxMs, Math.max(minMs, minMs + (mean - 1) * MS_PER_FURTHER)),
  };
}
