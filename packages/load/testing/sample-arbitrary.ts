/** Samples as a target and a driver make them, by chance, for property tests. */
import * as fc from "fast-check";
import {
  SAMPLE_OUTCOMES,
  toJobSample,
  type JobObservation,
  type JobSample,
} from "../src/sample/job-sample.ts";

/** When the run of these samples started, by the clock of their observations. */
export const ORIGIN_AT = 1_700_000_000_000;

const instantArb = fc
  .double({ min: -5_000, max: 600_000, noNaN: true })
  .map((ms) => ORIGIN_AT + ms);
const maybeInstantArb = fc.option(instantArb);

/** What a target told, its times in no order. */
export const observationArb: fc.Arbitrary<JobObservation> = fc
  .record({
    begunAt: instantArb,
    acceptedAt: maybeInstantArb,
    startedAt: maybeInstantArb,
    loadedAt: maybeInstantArb,
    executedAt: maybeInstantArb,
    endedAt: instantArb,
    outcome: fc.constantFrom(...SAMPLE_OUTCOMES),
    errorClass: fc.constantFrom("gpu_oom", "timeout", 'odd "class"\n'),
    retries: fc.nat(5),
    changed: fc.boolean(),
    outputs: fc.nat(4),
    bytes: fc.nat(10_000_000),
  })
  .map((seen) => ({ ...seen, errorClass: seen.outcome === "completed" ? null : seen.errorClass }));

/** Samples in order. */
export const sampleArb: fc.Arbitrary<JobSample> = fc
  .record({
    index: fc.nat(1_000_000),
    workflow: fc.constantFrom("small", "large", 'with "quotes", commas\n'),
    level: fc.constantFrom(1, 2, 0.5),
    intendedMs: fc.double({ min: 0, max: 600_000, noNaN: true }),
    warmUp: fc.boolean(),
  })
  .chain((job) => observationArb.map((seen) => toJobSample(job, seen, ORIGIN_AT)));
