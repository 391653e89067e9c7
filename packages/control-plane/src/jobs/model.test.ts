import { ENDED_JOB_STATUSES, JOB_STATUSES } from "@holdfast/contract";
import { expect, test } from "vitest";
import { canTransition, isEnded, LIVE_STATES, outwardStatus } from "./model.ts";

test("live and ended states are all there are", () => {
  expect([...LIVE_STATES, ...ENDED_JOB_STATUSES].sort()).toEqual([...JOB_STATUSES].sort());
});

test("an end leads nowhere but into a new round", () => {
  for (const from of ENDED_JOB_STATUSES) {
    expect(JOB_STATUSES.filter((to) => canTransition(from, to))).toEqual(["queued"]);
    expect(isEnded(from)).toBe(true);
  }
});

test("every live state can be cancelled and can fail; only work under way completes", () => {
  for (const from of LIVE_STATES) {
    expect(canTransition(from, "cancelled")).toBe(true);
    expect(canTransition(from, "failed")).toBe(true);
    expect(canTransition(from, "completed")).toBe(from === "processing");
  }
});

test("a job that waits again is recovering to everybody outside", () => {
  expect(outwardStatus({ state: "queued", attemptCount: 0 })).toBe("queued");
  expect(outwardStatus({ state: "queued", attemptCount: 1 })).toBe("recovering");
  expect(outwardStatus({ state: "completed", attemptCount: 1 })).toBe("completed");
});
