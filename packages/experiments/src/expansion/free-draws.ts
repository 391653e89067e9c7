/**
 * Combinations by chance where there are too many exclusions to count what they leave: each choice by
 * its weights, and again until no exclusion is hit. As likely as `Combinations.draw` makes them.
 */
import { invariant, type Random } from "@holdfast/runtime";
import type { Draws, Exclusion } from "./combinations.ts";

/** Draws by which it is seen beforehand how much the exclusions leave. */
const TRIALS = 2_000;
/** At least so many of them have to be left: 1 in 100. */
const LEFT_MIN = 20;
/** With 1 in 100 left, all of these are hit once in 10^43. */
const TRIES_MAX = 10_000;

/** Undefined where the exclusions leave so little that drawing again would take for ever. */
export function createFreeDraws(
  weights: readonly (readonly number[])[],
  exclusions: readonly Exclusion[],
  trial: Random,
): Draws | undefined {
  const sums = weights.map((own) => own.reduce((sum, weight) => sum + weight, 0));
  const drawAny = (random: Random): readonly number[] =>
    weights.map((own, at) => {
      let left = random.next() * (sums[at] ?? 0);
      const option = own.findIndex((weight) => {
        left -= weight;
        return left < 0;
      });
      // Sums in another order differ in their last bit: what is beyond the end is the end.
      return option === -1 ? own.length - 1 : option;
    });
  const isLeft = (one: readonly number[]): boolean =>
    !exclusions.some((exclusion) => isHit(one, exclusion));
  let left = 0;
  for (let draw = 0; draw < TRIALS; draw += 1) if (isLeft(drawAny(trial))) left += 1;
  if (left < LEFT_MIN) return undefined;
  return {
    draw(random) {
      let drawn = drawAny(random);
      for (let tries = 1; !isLeft(drawn); tries += 1) {
        invariant(tries < TRIES_MAX, "the exclusions leave less than they did");
        drawn = drawAny(random);
      }
      return drawn;
    },
  };
}

function isHit(one: readonly number[], exclusion: Exclusion): boolean {
  for (const [at, options] of exclusion) if (!options.has(one[at] ?? -1)) return false;
  return true;
}
