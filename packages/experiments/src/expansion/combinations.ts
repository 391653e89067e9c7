/**
 * All combinations of some choices without the excluded ones: how many there are, which one is the
 * n-th, and one by chance. None of it goes through the combinations: a thousand million of them cost
 * what one costs.
 *
 * Choices are made one after the other. After some of them only two things matter: how many are
 * left, and which exclusions can still come true (`alive`). For each such state the mass of what may
 * follow is known, and each next choice is made by the mass behind it.
 */
import type { Random } from "@holdfast/runtime";

/** A combination that has all of these is left out: option numbers by the number of the choice. */
export type Exclusion = ReadonlyMap<number, ReadonlySet<number>>;

/** Combinations by chance, each as the option's number of every choice. */
export interface Draws {
  /** One by chance: each as likely as the product of its weights, the excluded ones never. */
  draw(random: Random): readonly number[];
}

/** Combinations that are counted. */
export interface Combinations extends Draws {
  /** Of all together: their number where every weight is 1; 0 when nothing is left. */
  readonly mass: number;
  /** The n-th in the order of nested loops, the last choice fastest. For weights of 1 alone. */
  at(rank: number): readonly number[];
}

/**
 * Moves that are looked at in all: about a second. What is beyond is drawn otherwise, so this is part
 * of the promise that an experiment's runs are the same for ever.
 */
const MOVES_MAX = 1_000_000;

/**
 * Combinations of choices with these weights. Undefined where the exclusions are too entangled to
 * be counted.
 */
export function createCombinations(
  weights: readonly (readonly number[])[],
  exclusions: readonly Exclusion[],
): Combinations | undefined {
  const steps = toSteps(weights, exclusions);
  const known = new Map<string, number>();
  let moves = 0;

  /** Mass of all ways to go on from here. */
  const massFrom = (step: number, alive: bigint): number => {
    const here = steps[step];
    if (here === undefined) return 1;
    if (alive === 0n) return here.freeMass;
    const key = `${step}:${alive}`;
    const before = known.get(key);
    if (before !== undefined) return before;
    moves += here.groups.length;
    if (moves > MOVES_MAX) return 0;
    let mass = 0;
    for (const { keeps, weight } of here.groups) {
      const next = alive & keeps;
      if ((next & here.complete) === 0n) mass += weight * massFrom(step + 1, next);
    }
    known.set(key, mass);
    return mass;
  };

  /** The choice at which the masses of all before it reach `place`, and what is left of that. */
  const choose = (step: Step, index: number, alive: bigint, place: number): Chosen => {
    let left = place;
    let last: Chosen = { option: -1, alive, left: 0, mass: 0 };
    for (const [option, { keeps, weight }] of step.options.entries()) {
      const next = alive & keeps;
      const mass = (next & step.complete) === 0n ? weight * massFrom(index + 1, next) : 0;
      if (mass === 0) continue;
      last = { option, alive: next, left, mass };
      if (left < mass) return last;
      left -= mass;
    }
    // Sums in another order differ in their last bit: what is beyond the end is the end.
    return last;
  };

  const everything = (1n << BigInt(exclusions.length)) - 1n;
  const mass = massFrom(0, everything);
  if (moves > MOVES_MAX) return undefined;
  return {
    mass,
    at(rank) {
      let alive = everything;
      let left = rank;
      return steps.map((step, index) => {
        const chosen = choose(step, index, alive, left);
        ({ alive, left } = chosen);
        return chosen.option;
      });
    },
    draw(random) {
      let alive = everything;
      return steps.map((step, index) => {
        const chosen = choose(step, index, alive, random.next() * massFrom(index, alive));
        ({ alive } = chosen);
        return chosen.option;
      });
    },
  };
}

interface Chosen {
  readonly option: number;
  readonly alive: bigint;
  readonly left: number;
  readonly mass: number;
}

/** One option, or several that do the same to all exclusions. */
interface Move {
  /** Exclusions that can still come true after it. */
  readonly keeps: bigint;
  readonly weight: number;
}

interface Step {
  readonly options: readonly Move[];
  readonly groups: readonly Move[];
  /** Exclusions that have come true if they are still alive after this choice. */
  readonly complete: bigint;
  /** Of this choice and all after it, were there no exclusions. */
  readonly freeMass: number;
}

function toSteps(
  weights: readonly (readonly number[])[],
  exclusions: readonly Exclusion[],
): readonly Step[] {
  const lastOf = exclusions.map((one) => Math.max(...one.keys()));
  const steps: Step[] = [];
  let freeMass = 1;
  for (let index = weights.length - 1; index >= 0; index -= 1) {
    const own = weights[index] ?? [];
    freeMass *= own.reduce((sum, weight) => sum + weight, 0);
    const options = own.map((weight, option) => ({
      weight,
      keeps: bits(exclusions, (one) => one.get(index)?.has(option) ?? true),
    }));
    const complete = bits(exclusions, (_, number) => lastOf[number] === index);
    steps.unshift({ options, groups: grouped(options), complete, freeMass });
  }
  return steps;
}

function grouped(options: readonly Move[]): readonly Move[] {
  const weights = new Map<bigint, number>();
  for (const { keeps, weight } of options) weights.set(keeps, (weights.get(keeps) ?? 0) + weight);
  return [...weights].map(([keeps, weight]) => ({ keeps, weight }));
}

function bits(
  exclusions: readonly Exclusion[],
  isSet: (one: Exclusion, number: number) => boolean,
): bigint {
  let mask = 0n;
  for (const [number, one] of exclusions.entries()) {
    if (isSet(one, number)) mask |= 1n << BigInt(number);
  }
  return mask;
}
