import type { Random } from "@holdfast/runtime";

const MASK = (1n << 64n) - 1n;
/** 2^64 by the golden ratio: SplitMix64's step. */
const STEP = 0x9e3779b97f4a7c15n;
const DOUBLE_BITS = 53n;
const DOUBLE_RANGE = 2 ** 53;

/**
 * Chance of one run for one purpose (SplitMix64): the same seed, run and purpose give the same
 * numbers for ever and everywhere, without those of the runs before it. 64 bits, because two of a
 * hundred thousand runs should not get the same seed. Not for secrets.
 */
export function runRandom(seed: number, index: number, purpose: number): Random {
  let state = mix((mix((mix(BigInt(seed)) + BigInt(index)) & MASK) + BigInt(purpose)) & MASK);
  return {
    next() {
      const mixed = mix(state);
      state = (state + STEP) & MASK;
      return Number(mixed >> (64n - DOUBLE_BITS)) / DOUBLE_RANGE;
    },
  };
}

/** One number of SplitMix64: every input has an output of its own. */
function mix(value: bigint): bigint {
  let mixed = (value + STEP) & MASK;
  mixed = ((mixed ^ (mixed >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  mixed = ((mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return mixed ^ (mixed >> 31n);
}
