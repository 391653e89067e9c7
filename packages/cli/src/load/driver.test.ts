import {
  createPacing,
  DEFAULT_PACING_LIMITS,
  NO_WARM_UP,
  type JobObservation,
  type JobSample,
  type Pace,
  type PacingLimits,
} from "@holdfast/load";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { describe, expect, it } from "vitest";
import { createDriver, type DriverEnd, type DriverOptions } from "./driver.ts";
import { startJobTime } from "./job-time.ts";
import type { LoadTarget } from "./load-target.ts";

/** Takes so long for a job; what it was given up for is its outcome. */
function fakeTarget(
  clock: FakeClock,
  serviceMs: (index: number) => number,
  seen: (index: number) => Partial<JobObservation> = () => ({}),
): Pick<LoadTarget, "render"> & { most(): number } {
  let [now, most] = [0, 0];
  return {
    most: () => most,
    async render({ index, timeoutMs }, signal) {
      now += 1;
      most = Math.max(most, now);
      const begunAt = clock.elapsed();
      const time = startJobTime(timeoutMs, signal, clock);
      await clock.sleep(serviceMs(index), time.signal).catch(() => undefined);
      time.release();
      now -= 1;
      const outcome = time.over() ?? "completed";
      return {
        seen: {
          begunAt,
          acceptedAt: begunAt,
          startedAt: null,
          loadedAt: null,
          executedAt: null,
          endedAt: clock.elapsed(),
          outcome,
          errorClass: outcome === "completed" ? null : outcome,
          retries: 0,
          changed: false,
          outputs: 1,
          bytes: 10,
          ...seen(index),
        },
        message: "",
      };
    },
  };
}

interface Run {
  readonly samples: JobSample[];
  readonly end: Promise<DriverEnd>;
}

function drive(
  clock: FakeClock,
  target: Pick<LoadTarget, "render">,
  pace: Pace,
  limits: Partial<PacingLimits>,
  more: Partial<DriverOptions> = {},
): Run {
  const samples: JobSample[] = [];
  const driver = createDriver({
    target,
    pacing: createPacing(pace, { ...DEFAULT_PACING_LIMITS, ...limits }, 1),
    plan: (index) => ({ index, workflow: "w", seed: index }),
    graphOf: () => ({}),
    warmUp: NO_WARM_UP,
    timeoutMs: 60_000,
    clock,
    cancel: new AbortController().signal,
    stopWish: () => null,
    onSample: (sample) => samples.push(sample),
    ...more,
  });
  return { samples, end: driver.run() };
}

const closed = (inFlight: number): Pace => ({ kind: "closed", inFlight });
const open = (perSecond: number): Pace => ({ kind: "open", perSecond, arrivals: "constant" });

describe("a closed loop", () => {
  it("keeps as many in flight as were asked for, and ends with the last one", async () => {
    const clock = createFakeClock();
    const target = fakeTarget(clock, () => 1_000);
    const { samples, end } = drive(clock, target, closed(4), { jobs: 12 });
    await clock.advance(10_000);
    expect(await end).toEqual({ stoppedBecause: "jobs", neverBegun: 0 });
    expect(target.most()).toBe(4);
    expect(samples.map(({ index }) => index)).toEqual(Array.from({ length: 12 }, (_, i) => i));
    expect(samples.at(-1)).toMatchObject({ begunMs: 2_000, endedMs: 3_000, outcome: "completed" });
  });

  it("begins none after its time, and waits for those in flight", async () => {
    const clock = createFakeClock();
    const target = fakeTarget(clock, () => 400);
    const { samples, end } = drive(clock, target, closed(1), { forMs: 1_000 });
    await clock.advance(10_000);
    expect(await end).toMatchObject({ stoppedBecause: "time" });
    expect(samples.map(({ endedMs }) => endedMs)).toEqual([400, 800, 1_200]);
  });
});

it("an open loop begins its jobs in time however slow the target is, and counts from then", async () => {
  const clock = createFakeClock();
  const target = fakeTarget(clock, () => 5_000);
  const { samples, end } = drive(clock, target, open(2), { jobs: 6 });
  await clock.advance(20_000);
  await end;
  expect(samples.map(({ intendedMs }) => intendedMs)).toEqual([0, 500, 1_000, 1_500, 2_000, 2_500]);
  expect(samples.map(({ endedMs }) => endedMs)).toEqual([5_000, 5_500, 6_000, 6_500, 7_000, 7_500]);
  expect(target.most()).toBe(6);
});

it("what waits for room in an open loop counts its wait", async () => {
  const clock = createFakeClock();
  const target = fakeTarget(clock, () => 1_000);
  const { samples, end } = drive(clock, target, open(10), { jobs: 3, inFlightMax: 1 });
  await clock.advance(20_000);
  await end;
  expect(samples.map(({ intendedMs, begunMs }) => begunMs - intendedMs)).toEqual([0, 900, 1_800]);
});

it("Ctrl-C cancels what is in flight, and each of those has a sample", async () => {
  const clock = createFakeClock();
  const cancel = new AbortController();
  const target = fakeTarget(clock, () => 10_000);
  const { samples, end } = drive(clock, target, closed(3), { jobs: 9 }, { cancel: cancel.signal });
  await clock.advance(1_000);
  cancel.abort();
  expect(await end).toMatchObject({ stoppedBecause: "cancelled" });
  expect(samples.map(({ outcome, endedMs }) => [outcome, endedMs])).toEqual(
    Array.from({ length: 3 }, () => ["cancelled", 1_000]),
  );
});

it("a job that takes longer than its time is given up, and the next one begins", async () => {
  const clock = createFakeClock();
  const target = fakeTarget(clock, (index) => (index === 0 ? 1e6 : 100));
  const { samples, end } = drive(clock, target, closed(1), { jobs: 2 }, { timeoutMs: 2_000 });
  await clock.advance(10_000);
  await end;
  expect(samples.map(({ outcome }) => outcome)).toEqual(["timed_out", "completed"]);
  expect(clock.sleeperCount()).toBe(0);
});

it("a stop rule begins no other job and cancels none", async () => {
  const clock = createFakeClock();
  let ended = 0;
  const target = fakeTarget(clock, (index) => 100 * (index + 1));
  const { samples, end } = drive(
    clock,
    target,
    closed(2),
    { jobs: 100 },
    {
      stopWish: () => (ended > 0 ? "errors" : null),
      onSample: (sample) => {
        ended += 1;
        samples.push(sample);
      },
    },
  );
  await clock.advance(100_000);
  expect(await end).toMatchObject({ stoppedBecause: "errors" });
  expect(samples.map(({ outcome }) => outcome)).toEqual(["completed", "completed"]);
});

it("a target that nobody reaches any more ends the run", async () => {
  const clock = createFakeClock();
  const failed = { outcome: "failed", errorClass: "network_error" } as const;
  const target = fakeTarget(
    clock,
    () => 10,
    (index) => (index < 5 ? {} : failed),
  );
  const { samples, end } = drive(clock, target, closed(1), { jobs: 1_000 });
  await clock.advance(100_000);
  expect(await end).toMatchObject({ stoppedBecause: "target_lost" });
  expect(samples).toHaveLength(25);
});

it("a bug of a target ends the run and is thrown", async () => {
  const clock = createFakeClock();
  const broken = { render: () => Promise.reject(new Error("a bug")) };
  const { end } = drive(clock, broken, closed(1), { jobs: 3 });
  await expect(end).rejects.toThrow("a bug");
});
