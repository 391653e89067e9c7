import { seededRandom } from "@holdfast/runtime";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decideStart,
  noteEnd,
  noteFailedStart,
  noteRunning,
  UNSTARTED,
  type RestartRules,
} from "./process-decision.ts";

const rules: RestartRules = {
  backoff: { initialMs: 1_000, factor: 2, maxMs: 60_000, jitter: 0 },
  stableMs: 60_000,
  crashLoopAfter: 3,
};
const random = seededRandom(1);
const end = (memory: typeof UNSTARTED, now: number) =>
  noteEnd(memory, "it ended (exit code 1)", now, rules, random);

describe("starting", () => {
  test("a process that never ran is started, unless something it needs is not healthy", () => {
    expect(decideStart(UNSTARTED, [], 0, rules)).toEqual({ kind: "start" });
    expect(decideStart(UNSTARTED, ["redis (starting)", "db (stopped)"], 0, rules)).toEqual({
      kind: "wait",
      reason: "waits for redis (starting), db (stopped)",
    });
  });

  test("after an end it waits, longer each time", () => {
    const once = end(noteRunning(UNSTARTED, 0), 100);
    expect(decideStart(once, [], 100, rules)).toEqual({
      kind: "wait",
      reason: "it ended (exit code 1); started again in 1 s",
    });
    expect(decideStart(once, [], 1_100, rules)).toEqual({ kind: "start" });
    const twice = end(noteRunning(once, 1_100), 1_200);
    expect(twice.notBefore).toBe(3_200);
  });

  test("after too many ends in a row it is given up, with what to do", () => {
    let memory = UNSTARTED;
    for (let n = 0; n < 3; n += 1) memory = end(noteRunning(memory, n * 10_000), n * 10_000 + 1);
    const decided = decideStart(memory, [], 1e9, rules);
    expect(decided).toMatchObject({ kind: "crash_loop" });
    expect(JSON.stringify(decided)).toContain("3 times in a row within 60 s of its start");
  });

  test("one that ran for long enough starts counting anew", () => {
    let memory = UNSTARTED;
    for (let n = 0; n < 10; n += 1) {
      memory = end(noteRunning(memory, n * 100_000), n * 100_000 + 60_000);
    }
    expect(memory.crashes).toBe(1);
    expect(end(UNSTARTED, 5).crashes).toBe(1);
  });

  test("one that cannot be started is tried for ever, ever more slowly", () => {
    let memory = UNSTARTED;
    for (let n = 0; n < 100; n += 1) {
      memory = noteFailedStart(memory, "no manager", 0, rules, random);
    }
    expect(memory.notBefore).toBe(60_000);
    expect(decideStart(memory, [], 60_000, rules)).toEqual({ kind: "start" });
    expect(noteRunning(memory, 1).failedStarts).toBe(0);
  });

  test("without a known trouble the reason still speaks", () => {
    expect(decideStart({ ...UNSTARTED, notBefore: 500 }, [], 0, rules)).toEqual({
      kind: "wait",
      reason: "it ended; started again in 1 s",
    });
  });
});

test("never started too soon, nor after it was given up, nor too often in a time", () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 120_000 }), { maxLength: 60 }), (runs) => {
      let memory = UNSTARTED;
      let now = 0;
      let starts = 0;
      for (const ranMs of runs) {
        const decided = decideStart(memory, [], now, rules);
        if (decided.kind === "crash_loop") {
          expect(memory.crashes).toBe(rules.crashLoopAfter);
          return;
        }
        if (decided.kind === "wait") {
          expect(now).toBeLessThan(memory.notBefore ?? 0);
          now = memory.notBefore ?? now;
        }
        expect(decideStart(memory, [], now, rules).kind).toBe("start");
        starts += 1;
        memory = end(noteRunning(memory, now), now + ranMs);
        now += ranMs;
        expect((memory.notBefore ?? 0) - now).toBeGreaterThanOrEqual(1_000);
        expect((memory.notBefore ?? 0) - now).toBeLessThanOrEqual(60_000);
      }
      expect(starts).toBe(runs.length);
    }),
  );
});
