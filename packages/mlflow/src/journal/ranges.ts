/** Sets of whole numbers that mostly follow each other, as sorted ranges. */

/** `[from, to]`, both within. */
export type Range = readonly [number, number];

/** The ranges with one more; they stay sorted, apart from each other, and are not changed in place. */
export function withRange(ranges: readonly Range[], [from, to]: Range): readonly Range[] {
  const before = ranges.filter(([, end]) => end < from - 1);
  const after = ranges.filter(([start]) => start > to + 1);
  const touched = ranges.slice(before.length, ranges.length - after.length);
  const start = Math.min(from, ...touched.map(([one]) => one));
  const end = Math.max(to, ...touched.map(([, one]) => one));
  return [...before, [start, end], ...after];
}

/** Whether a number is within. */
export function isWithin(ranges: readonly Range[], value: number): boolean {
  return ranges.some(([from, to]) => from <= value && value <= to);
}

/** How many numbers there are. */
export function countOf(ranges: readonly Range[]): number {
  return ranges.reduce((sum, [from, to]) => sum + to - from + 1, 0);
}
