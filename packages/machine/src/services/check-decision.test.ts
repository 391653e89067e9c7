import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { nextCheck, UNCHECKED, type CheckMemory, type ProbeOutcome } from "./check-decision.ts";

const passed: ProbeOutcome = { kind: "passed", detail: "HTTP 200" };
const failed: ProbeOutcome = { kind: "failed", detail: "HTTP 503" };
const run = (
  outcomes: readonly ProbeOutcome[],
  { failures = 2, graceMs = 0, everyMs = 1_000 } = {},
): CheckMemory[] => {
  const memories: CheckMemory[] = [];
  let memory = UNCHECKED;
  outcomes.forEach((outcome, n) => {
    const times = { sinceStartMs: n * everyMs, checkedAt: n };
    memory = nextCheck(memory, outcome, { failures, graceMs }, times);
    memories.push(memory);
  });
  return memories;
};
const states = (memories: readonly CheckMemory[]) => memories.map(({ status }) => status.state);

describe("failures in a row", () => {
  test("fewer than the threshold change nothing, a pass ends the row", () => {
    const memories = run([passed, failed, passed, failed, failed, failed, passed]);
    expect(states(memories)).toEqual([
      "passing",
      "passing",
      "passing",
      "passing",
      "failing",
      "failing",
      "passing",
    ]);
    expect(memories[1]?.status.detail).toBe("but the last look failed, HTTP 503 (once)");
    expect(memories[5]?.status.detail).toBe("HTTP 503 (3 times in a row)");
    expect(memories[6]?.status).toEqual({ state: "passing", detail: "HTTP 200", checkedAt: 6 });
  });

  test("what never passed stays pending until the threshold", () => {
    expect(states(run([failed, failed]))).toEqual(["pending", "failing"]);
  });
});

describe("grace of a start", () => {
  test("failures within it keep a service pending, and tell why", () => {
    const memories = run([failed, failed, failed, failed], { graceMs: 2_500 });
    expect(states(memories)).toEqual(["pending", "pending", "pending", "failing"]);
    expect(memories[1]?.status.detail).toBe("HTTP 503 (2 times in a row)");
  });

  test("it ends with the first pass", () => {
    const memories = run([passed, failed, failed], { graceMs: 60_000 });
    expect(states(memories)).toEqual(["passing", "passing", "failing"]);
  });
});

test("whatever comes: failing only after enough failures in a row, passing right after a pass", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(passed, failed), { maxLength: 40 }),
      fc.integer({ min: 1, max: 5 }),
      fc.nat({ max: 20_000 }),
      (outcomes, failures, graceMs) => {
        const memories = run(outcomes, { failures, graceMs });
        let inRow = 0;
        memories.forEach(({ status, failuresInRow }, n) => {
          inRow = outcomes[n] === passed ? 0 : inRow + 1;
          expect(failuresInRow).toBe(inRow);
          if (outcomes[n] === passed) expect(status.state).toBe("passing");
          if (status.state === "failing") expect(inRow).toBeGreaterThanOrEqual(failures);
          else expect(inRow < failures || n * 1_000 < graceMs).toBe(true);
        });
      },
    ),
  );
});
