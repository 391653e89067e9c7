/** Chance, injected and seedable: a failing randomised test prints its seed and can be replayed. */
export interface Random {
  /** A number in [0, 1). */
  next(): number;
}

/** An integer in [0, bound). `bound` must be a positive integer. */
export function nextInt(random: Random, bound: number): number {
  return Math.floor(random.next() * bound);
}

/** One element of a list that is not empty. */
export function pick<T>(random: Random, items: readonly [T, ...T[]] | readonly T[]): T {
  const item = items[nextInt(random, items.length)];
  if (item === undefined) throw new Error("pick from an empty list");
  return item;
}

/**
 * A small seeded generator (mulberry32): the same seed gives the same numbers on every platform.
 * Not for secrets.
 */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return {
    next() {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = state;
      t = Math.imul(t ^ (t >>> 15), t | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
    },
  };
}
