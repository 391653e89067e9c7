import type { JobView } from "@holdfast/contract";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { attemptFact, jobFact, observedFact } from "../../testing/fault-facts.ts";
import { finding, type ObservedJob } from "./observed.ts";
import { brokenPromises, judge } from "./verdict.ts";

const none = () => [];

describe("a verdict", () => {
  it("is passed where the fault struck and every promise was kept", () => {
    expect(judge(observedFact(), none)).toEqual({
      state: "passed",
      reasons: [],
      evidence: [
        "a fault",
        "2 of 2 jobs ended, 2 completed",
        "2 outputs whole, pictures of 2 compared, none doubled",
      ],
    });
  });

  it("is failed where the fault never struck, or where nothing was tried", () => {
    const never = observedFact({ fault: { how: "a fault", struck: 0, span: null } });
    expect(judge(never, none).reasons).toEqual(["the fault never struck: a fault"]);
    expect(judge(observedFact({ jobs: [] }), none).state).toBe("failed");
    const uncounted = observedFact({ fault: { how: "a fault", struck: null, span: null } });
    expect(judge(uncounted, none).state).toBe("passed");
  });

  it("is failed by what was expected of this fault and did not come", () => {
    const verdict = judge(observedFact(), () => [finding(true, "seen"), finding(false, "missed")]);
    expect(verdict).toMatchObject({ state: "failed", reasons: ["missed"] });
    expect(verdict.evidence).toContain("seen");
  });
});

describe("a promise is broken", () => {
  const bad: readonly (readonly [string, ObservedJob, string])[] = [
    ["a job that is gone", jobFact(0, { job: null }), "accepted and is gone"],
    [
      "a job without an end",
      jobFact(0, { view: { endedAt: null, status: "processing", waitingReason: "no machine" } }),
      "has not ended: processing, no machine",
    ],
    ["a job that failed", jobFact(0, { view: { status: "failed" } }), "is lost, failed"],
    [
      "two attempts that succeeded",
      jobFact(0, { attempts: [attemptFact(), attemptFact()] }),
      "2 attempts succeeded",
    ],
    [
      "an attempt that goes on",
      jobFact(0, { attempts: [attemptFact(), attemptFact({ outcome: null, endedAt: null })] }),
      "1 of its attempts go on",
    ],
    [
      "a second completion",
      jobFact(0, { events: ["job.completed", "job.completed"] }),
      "completed 2 times",
    ],
    ["a missing output", jobFact(0, { outputs: [] }), "0 outputs instead of 1"],
    [
      "a doubled output",
      jobFact(0, { outputs: [...jobFact(0).outputs, ...jobFact(0).outputs] }),
      "2 outputs instead of 1",
    ],
    [
      "an output that is cut",
      jobFact(0, { outputs: [{ name: "a", isWhole: false, picture: "picture 0" }] }),
      "not whole",
    ],
    [
      "another picture",
      jobFact(0, { outputs: [{ name: "a", isWhole: true, picture: "another" }] }),
      "not the one that an undisturbed ComfyUI renders",
    ],
    [
      "a page that cannot be rendered and was",
      jobFact(0, { work: { index: 0, graph: {}, expected: "flagged" } }),
      "cannot be rendered and is completed",
    ],
  ];
  it.each(bad)("by %s", (_, job, words) => {
    expect(brokenPromises(job).join("; ")).toContain(words);
  });

  it("not by a picture that recovery says it changed", () => {
    const outputs = [{ name: "a", isWhole: true, picture: "smaller" }];
    const view: Partial<JobView> = { changes: { loss: "size", steps: ["smaller"] } };
    expect(brokenPromises(jobFact(0, { outputs, view }))).toEqual([]);
  });

  it("and one such job among any number of sound ones turns the verdict", () => {
    fc.assert(
      fc.property(fc.nat(30), fc.nat(), fc.constantFrom(...bad), (count, place, [, job]) => {
        const sound = Array.from({ length: count }, (_, index) => jobFact(index + 1));
        const at = place % (count + 1);
        const jobs = [...sound.slice(0, at), job, ...sound.slice(at)];
        const verdict = judge(observedFact({ jobs }), none);
        expect(verdict.state).toBe("failed");
        expect(verdict.reasons.length).toBeGreaterThan(0);
        expect(judge(observedFact({ jobs: [...sound, jobFact(0)] }), none).state).toBe("passed");
      }),
    );
  });

  it("and of many only some are told", () => {
    const jobs = Array.from({ length: 50 }, (_, index) => jobFact(index, { job: null }));
    expect(judge(observedFact({ jobs }), none).reasons.at(-1)).toBe("… and 44 more");
  });
});
