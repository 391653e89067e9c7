import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { observationArb, ORIGIN_AT, sampleArb } from "../../testing/sample-arbitrary.ts";
import { toJobSample, type JobObservation, type JobSample } from "./job-sample.ts";
import { PHASES, phasesOf } from "./phases.ts";

const job = { index: 3, workflow: "small", level: 4, intendedMs: 100, warmUp: false };
const seen: JobObservation = {
  begunAt: 1_100.5,
  acceptedAt: 1_110,
  startedAt: 1_400,
  loadedAt: 2_000,
  executedAt: 6_000,
  endedAt: 6_100.12345,
  outcome: "completed",
  errorClass: null,
  retries: 0,
  changed: false,
  outputs: 1,
  bytes: 2_000,
};
const timesOf = (sample: JobSample): readonly number[] =>
  [
    sample.intendedMs,
    sample.begunMs,
    sample.acceptedMs,
    sample.startedMs,
    sample.loadedMs,
    sample.executedMs,
    sample.endedMs,
  ].filter((ms) => ms !== null);

describe("a job's sample", () => {
  it("has its times since the run's start, and its phases", () => {
    const sample = toJobSample(job, seen, 1_000);
    expect(sample).toMatchObject({ begunMs: 100.5, acceptedMs: 110, endedMs: 5_100.123 });
    expect(phasesOf(sample)).toEqual({
      harness: 0.5,
      submit: 9.5,
      queue: 290,
      model_load: 600,
      execute: 4_000,
      collect: 100.123,
      total: 5_000.123,
    });
  });

  it("counts its latency from when it was meant to begin", () => {
    const late = toJobSample({ ...job, intendedMs: 0 }, { ...seen, begunAt: 9_000 }, 1_000);
    expect(phasesOf(late)).toMatchObject({ harness: 8_000, total: 8_000 });
  });

  it("leaves out what its target does not tell", () => {
    const bare = { ...seen, loadedAt: null };
    expect(phasesOf(toJobSample(job, bare, 1_000))).toMatchObject({
      model_load: null,
      execute: 4_600,
    });
    const refused = {
      ...seen,
      acceptedAt: null,
      startedAt: null,
      loadedAt: null,
      executedAt: null,
    };
    expect(phasesOf(toJobSample(job, refused, 1_000))).toMatchObject({
      submit: null,
      queue: null,
      execute: null,
      collect: null,
      total: 5_000.123,
    });
  });

  it("keeps its total, however wrong the target's clock is", () => {
    fc.assert(
      fc.property(observationArb, fc.integer({ min: -1e9, max: 1e9 }), (told, wrongBy) => {
        const off = (at: number | null): number | null => (at === null ? null : at + wrongBy);
        const own = toJobSample(job, told, ORIGIN_AT);
        const other = toJobSample(
          job,
          {
            ...told,
            startedAt: off(told.startedAt),
            loadedAt: off(told.loadedAt),
            executedAt: off(told.executedAt),
          },
          ORIGIN_AT,
        );
        expect(phasesOf(other).total).toBe(phasesOf(own).total);
      }),
    );
  });

  it("never goes back, and its phases sum up to its total", () => {
    fc.assert(
      fc.property(sampleArb, (sample) => {
        const times = timesOf(sample);
        expect(times).toEqual([...times].sort((a, b) => a - b));
        const { total, ...phases } = phasesOf(sample);
        expect(Object.keys(phases)).toEqual(PHASES.slice(0, -1));
        const known = Object.values(phases).filter((ms) => ms !== null);
        expect(known.every((ms) => ms >= 0)).toBe(true);
        const sum = known.reduce((all, ms) => all + ms, 0);
        expect(sum).toBeLessThanOrEqual((total ?? 0) + 0.001);
        if (times.length === 7) expect(sum).toBeCloseTo(total ?? 0, 2);
      }),
    );
  });
});
