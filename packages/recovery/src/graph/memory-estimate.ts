/** What is left of a request for memory after reductions, by the kindest estimate. */
import type { Reduction } from "./reduce.ts";

/** How a request for memory grows with what a site says, at most. */
const POWERS: readonly (readonly [Reduction["role"], number])[] = [
  ["batch", 1],
  ["frames", 2],
  ["width", 2],
  ["height", 2],
  ["megapixels", 2],
];

/**
 * The least share of a request that is left after these steps: a tensor grows with the pictures, and at
 * most with the square of pixels and frames (attention), so the true share is never smaller.
 */
export function leastShare(steps: readonly (readonly Reduction[])[]): number {
  let share = 1;
  for (const reductions of steps) {
    for (const [role, power] of POWERS) {
      const shares = reductions
        .filter((one) => one.role === role)
        .map((one) => one.written / one.from);
      if (shares.length > 0) share *= Math.min(...shares) ** power;
    }
  }
  return share;
}
