/** Intervals of rates, which hold near 0 and 1 too, where success rates lie. */

/** A part of a whole. */
export interface RateCount {
  readonly count: number;
  readonly of: number;
}

/** Where something lies with 95 % confidence. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}

const Z_95 = 1.959963984540054;

/** Where a rate lies, after Wilson (1927). `of` is over 0. */
export function rateInterval({ count, of }: RateCount): Interval {
  const rate = count / of;
  const square = Z_95 * Z_95;
  const middle = (rate + square / (2 * of)) / (1 + square / of);
  const spread =
    (Z_95 / (1 + square / of)) * Math.sqrt((rate * (1 - rate)) / of + square / (4 * of * of));
  return { low: Math.max(0, middle - spread), high: Math.min(1, middle + spread) };
}

/** Where the second rate less the first lies, after Newcombe (1998, method 10), of both Wilson's. */
export function rateDifference(first: RateCount, second: RateCount): Interval {
  const [a, b] = [first.count / first.of, second.count / second.of];
  const [ofA, ofB] = [rateInterval(first), rateInterval(second)];
  return {
    low: b - a - Math.hypot(b - ofB.low, ofA.high - a),
    high: b - a + Math.hypot(ofB.high - b, a - ofA.low),
  };
}
