import { expect, it } from "vitest";
import type { InstanceDeaths } from "../jobs/trouble-service.ts";
import { crashWords } from "./crash-words.ts";

const DEATHS: InstanceDeaths = {
  instance: "gpu0",
  machine: "box",
  deaths: 1,
  jobNumber: 7,
  jobState: "queued",
  now: { kind: "known", state: "starting", reason: null },
};

it.each([
  [{}, "1 time in 10 min, last during job 7, which was queued again; the instance starts again"],
  [
    { deaths: 3, jobState: "completed", now: { kind: "known", state: "healthy", reason: null } },
    "3 times in 10 min, last during job 7, which completed after it; the instance is back",
  ],
  [
    { jobState: "processing", now: { kind: "known", state: "unhealthy", reason: "no answer" } },
    "1 time in 10 min, last during job 7, which runs again; the instance is not back yet: no answer",
  ],
  [
    { jobState: "failed", now: { kind: "silent" } },
    "1 time in 10 min, last during job 7, which failed; its machine has not said how it is since",
  ],
  [
    { jobState: "cancelled", now: { kind: "gone" } },
    "1 time in 10 min, last during job 7, which was cancelled; the instance is not there any more",
  ],
] as const)("says what became of instance and job: %#", (more, words) => {
  expect(crashWords({ ...DEATHS, ...more }, "10 min")).toBe(words);
});
