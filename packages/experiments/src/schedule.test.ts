import { nextInt, seededRandom, type Random } from "@holdfast/runtime";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { foldHistory, type ExperimentHistory } from "./results/history.ts";
import type { ResultRecord, RunEnd, StartRecord } from "./results/record.ts";
import { createSchedule, type Schedule, type ScheduleFacts } from "./schedule.ts";

const AT = "2026-01-02T03:04:05.678Z";
/** What survives a process. */
interface Disk {
  readonly starts: StartRecord[];
  readonly results: ResultRecord[];
}
const emptyDisk = (): Disk => ({ starts: [], results: [] });
const historyOf = ({ starts, results }: Disk): ExperimentHistory => foldHistory(starts, results);

function record(disk: Disk, index: number, attempt: number, end: RunEnd): void {
  disk.results.push({
    index,
    name: `exp_${index}`,
    title: "",
    attempt,
    promptId: null,
    seed: 0,
    values: {},
    status: end === "completed" ? "completed" : "failed",
    startedAt: AT,
    endedAt: AT,
    durationMs: 1,
    error:
      end === "completed" ? null : { class: "x", message: "", isInfrastructure: end === "down" },
    recovery: [],
    outputs: [],
    metrics: {},
  });
}

const schedule = (over: Partial<ScheduleFacts> = {}): Schedule =>
  createSchedule({
    count: 25,
    startFrom: 0,
    inFlightMax: 1,
    checkInterval: 10,
    history: historyOf(emptyDisk()),
    ...over,
  });

/** Starts and ends runs one after the other until something else comes. */
function runOn(one: Schedule, end: (index: number) => RunEnd = () => "completed") {
  const started: number[] = [];
  for (;;) {
    const step = one.next();
    if (step.kind !== "start") return { started, step };
    started.push(step.index);
    one.ended(step.index, end(step.index));
  }
}
const span = (from: number, to: number): readonly number[] =>
  Array.from({ length: to - from }, (_, at) => from + at);

describe("a schedule", () => {
  test("checks before every tenth run, and not after the last", () => {
    const one = schedule();
    expect(runOn(one)).toEqual({ started: span(0, 10), step: { kind: "check", experiment: 10 } });
    expect(one.next()).toEqual({ kind: "wait" });
    one.checkPassed(false);
    expect(runOn(one).step).toEqual({ kind: "check", experiment: 20 });
    one.checkPassed(false);
    expect(runOn(one)).toEqual({ started: span(20, 25), step: { kind: "finished" } });
    expect(one.view()).toMatchObject({ completed: 25, failed: 0, down: [], startFrom: 25 });
    expect(runOn(schedule({ count: 10 })).step).toEqual({ kind: "finished" });
  });

  test("has so many runs in flight, and starts none while a check is made", () => {
    const one = schedule({ inFlightMax: 3 });
    expect([one.next(), one.next(), one.next(), one.next()].map(({ kind }) => kind)).toEqual([
      "start",
      "start",
      "start",
      "wait",
    ]);
    for (let index = 0; index < 8; index += 1) {
      one.ended(index, "completed");
      if (index < 7) expect(one.next()).toEqual({ kind: "start", index: index + 3 });
    }
    expect(one.view().inFlight).toEqual([8, 9]);
    expect(one.next()).toEqual({ kind: "check", experiment: 10 });
    one.ended(8, "completed");
    expect(one.next()).toEqual({ kind: "wait" });
    one.checkPassed(false);
    expect(one.next()).toEqual({ kind: "start", index: 10 });
  });

  test("that is stopped by a check lets runs in flight end, and says where to go on", () => {
    const one = schedule({ inFlightMax: 2 });
    for (const index of span(0, 9)) {
      expect(one.next()).toEqual({ kind: "start", index });
      if (index < 8) one.ended(index, "completed");
    }
    expect(one.next()).toEqual({ kind: "start", index: 9 });
    expect(one.next()).toEqual({ kind: "check", experiment: 10 });
    one.checkFailed();
    expect(one.next()).toEqual({ kind: "wait" });
    one.ended(8, "down");
    one.ended(9, "failed");
    expect(one.next()).toEqual({ kind: "stopped", experiment: 10 });
    expect(one.view()).toMatchObject({ completed: 8, failed: 1, down: [8], startFrom: 10 });
  });

  test("from a run on first repeats what failed there while a service was down", () => {
    const disk = emptyDisk();
    for (const index of span(0, 10)) {
      record(disk, index, 1, index === 4 ? "failed" : index > 6 ? "down" : "completed");
    }
    disk.starts.push({ index: 3, attempt: 2, promptId: "p", startedAt: AT });
    disk.starts.push({ index: 6, attempt: 2, promptId: "p", startedAt: AT });
    disk.results.splice(3, 1); // Killed on its way.
    const one = schedule({ startFrom: 10, history: historyOf(disk) });
    expect(one.view()).toMatchObject({ completed: 5, failed: 1, down: [7, 8, 9], startFrom: 10 });
    expect(runOn(one).started).toEqual([3, 7, 8, 9, ...span(10, 20)]);
    // Of another folder's there is nothing to repeat.
    expect(runOn(schedule({ startFrom: 10 })).started).toEqual(span(10, 20));
    // What ended is not done again, wherever it lies.
    record(disk, 12, 1, "completed");
    const later = schedule({ startFrom: 10, history: historyOf(disk) });
    expect(runOn(later).started).not.toContain(12);
  });

  test("resumed does everything that has not ended, and checks where it passes a multiple", () => {
    const disk = emptyDisk();
    for (const index of span(0, 18)) if (index !== 5) record(disk, index, 1, "completed");
    const one = schedule({ history: historyOf(disk) });
    expect(runOn(one)).toEqual({ started: [5], step: { kind: "check", experiment: 10 } });
    one.checkFailed();
    expect(one.next()).toEqual({ kind: "stopped", experiment: 10 });
  });

  test("checks between many that are repeated", () => {
    const disk = emptyDisk();
    for (const index of span(0, 12)) record(disk, index, 1, "down");
    const one = schedule({ startFrom: 15, history: historyOf(disk) });
    expect(runOn(one)).toEqual({ started: span(0, 10), step: { kind: "check", experiment: 15 } });
    one.checkPassed(false);
    expect(runOn(one)).toEqual({
      started: [10, 11, ...span(15, 20)],
      step: { kind: "check", experiment: 20 },
    });
  });

  test("that waited for services repeats what failed meanwhile, but not for ever", () => {
    const one = schedule();
    const isBad = (index: number): RunEnd => (index >= 8 ? "down" : "completed");
    expect(runOn(one, isBad).step).toEqual({ kind: "check", experiment: 10 });
    one.checkPassed(true);
    const again = runOn(one, isBad);
    expect(again.started).toEqual([8, 9, ...span(10, 20)]);
    one.checkPassed(true);
    expect(runOn(one, isBad).started).toEqual(span(8, 18));
    one.checkPassed(true);
    // 8 and 9 were repeated twice.
    expect(runOn(one).started).toEqual([18, 19, ...span(10, 18), ...span(20, 25)]);
  });

  test("told what cannot be is a bug", () => {
    expect(() => schedule({ startFrom: 26 })).toThrow("starts nothing");
    expect(() => schedule().ended(0, "completed")).toThrow("was not in flight");
    expect(() => schedule().checkPassed(false)).toThrow("nobody made");
    expect(() => schedule().checkFailed()).toThrow("nobody made");
  });
});

/** One process: until it finishes, stops or is killed. Says where it would have gone on. */
function process(
  disk: Disk,
  facts: Omit<ScheduleFacts, "history">,
  random: Random,
  world: { readonly killChance: number; readonly downChance: number },
): { readonly kind: "finished" | "stopped" | "killed"; readonly startFrom: number } {
  const history = historyOf(disk);
  const one = createSchedule({ ...facts, history });
  const attempts = new Map<number, number>();
  let isDown = false;
  let sinceCheck = 0;
  for (let steps = 0; steps < 10_000; steps += 1) {
    if (random.next() < world.killChance)
      return { kind: "killed", startFrom: one.view().startFrom };
    if (random.next() < world.downChance) isDown = !isDown;
    const flying = one.view().inFlight;
    if (flying.length > 0 && random.next() < 0.4) {
      const index = flying[nextInt(random, flying.length)] ?? 0;
      const end: RunEnd = isDown ? "down" : random.next() < 0.1 ? "failed" : "completed";
      record(disk, index, attempts.get(index) ?? 0, end);
      // A kill between the record and what is told of it.
      if (random.next() < world.killChance) {
        return { kind: "killed", startFrom: one.view().startFrom };
      }
      one.ended(index, end);
    }
    const step = one.next();
    if (step.kind === "finished") return { kind: "finished", startFrom: facts.count };
    if (step.kind === "stopped") return { kind: "stopped", startFrom: step.experiment };
    if (step.kind === "check") {
      sinceCheck = 0;
      if (!isDown) one.checkPassed(random.next() < 0.3);
      else if (random.next() < 0.5) one.checkFailed();
      else {
        isDown = false;
        one.checkPassed(true);
      }
    }
    if (step.kind !== "start") continue;
    // I1: what ended, for good, is never started again.
    expect(historyOf(disk).isEnded(step.index)).toBe(false);
    expect(flying).not.toContain(step.index);
    expect(one.view().inFlight.length).toBeLessThanOrEqual(facts.inFlightMax);
    sinceCheck += 1;
    expect(sinceCheck).toBeLessThanOrEqual(2 * facts.checkInterval);
    // Killed before the start is on disk: nobody was told a number, so all is gone through again.
    if (random.next() < world.killChance) return { kind: "killed", startFrom: 0 };
    const attempt = Math.max(history.startsOf(step.index), attempts.get(step.index) ?? 0) + 1;
    attempts.set(step.index, attempt);
    disk.starts.push({ index: step.index, attempt, promptId: "p", startedAt: AT });
  }
  throw new Error("a process that never ends");
}

test("no run is done twice and none left out, whatever ends, fails, is checked or killed when", () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 6 }),
      fc.boolean(),
      (seed, count, checkInterval, inFlightMax, isByNumber) => {
        const random = seededRandom(seed);
        const disk = emptyDisk();
        let startFrom = 0;
        for (let round = 0; round < 8; round += 1) {
          const facts = { count, startFrom, inFlightMax, checkInterval };
          const end = process(disk, facts, random, { killChance: 0.01, downChance: 0.05 });
          // I2: going on at the number that was told is as good as going through everything again.
          startFrom = isByNumber ? end.startFrom : 0;
        }
        // A last one in a world where all is well.
        const facts = { count, startFrom, inFlightMax, checkInterval };
        const calm = { killChance: 0, downChance: 0 };
        expect(process(disk, facts, random, calm).kind).toBe("finished");
        const ended = disk.results.filter(
          ({ status, error }) => status === "completed" || error?.isInfrastructure === false,
        );
        expect(ended.map(({ index }) => index).sort((a, b) => a - b)).toEqual(span(0, count));
      },
    ),
    { numRuns: 300 },
  );
});
