/** Sound paces by chance, for property tests. */
import * as fc from "fast-check";
import type { Arrivals, Loop, Pace } from "../src/plan/pace.ts";

const timeArb = fc.integer({ min: 1, max: 600_000 });
const loopArb = fc.constantFrom<Loop>("closed", "open");
const arrivalsArb = fc.constantFrom<Arrivals>("constant", "poisson");
const rateArb = fc.integer({ min: 1, max: 20_000 }).map((tenths) => tenths / 10);
const inFlightArb = fc.integer({ min: 1, max: 50 });

/** Of either loop, with few jobs in flight and rates up to 2,000 a second. */
export const paceArb: fc.Arbitrary<Pace> = fc.oneof(
  inFlightArb.map((inFlight) => ({ kind: "closed" as const, inFlight })),
  fc.record({ kind: fc.constant("open" as const), perSecond: rateArb, arrivals: arrivalsArb }),
  loopArb.chain((loop) =>
    fc.record({
      kind: fc.constant("ramp" as const),
      loop: fc.constant(loop),
      from: valueArb(loop),
      to: valueArb(loop),
      overMs: timeArb,
      arrivals: spreadArb(loop),
    }),
  ),
  loopArb.chain((loop) =>
    fc.record({
      kind: fc.constant("step" as const),
      loop: fc.constant(loop),
      levels: fc.array(fc.record({ value: valueArb(loop), forMs: timeArb }), {
        minLength: 1,
        maxLength: 6,
      }),
      arrivals: spreadArb(loop),
    }),
  ),
);

function valueArb(loop: Loop): fc.Arbitrary<number> {
  return loop === "closed" ? inFlightArb : rateArb;
}

function spreadArb(loop: Loop): fc.Arbitrary<Arrivals> {
  return loop === "closed" ? fc.constant("constant") : arrivalsArb;
}
