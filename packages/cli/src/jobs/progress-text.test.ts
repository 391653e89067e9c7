import type { JobView } from "@holdfast/contract";
import { describe, expect, it } from "vitest";
import { progressBar, progressLine, stateText } from "./progress-text.ts";

const job: JobView = {
  id: "job_0123456789abcdefghjkmnpqrs",
  number: 7,
  name: null,
  status: "processing",
  held: false,
  poison: false,
  priority: 0,
  tags: [],
  batchId: null,
  owner: "local",
  attemptCount: 1,
  failureCount: 0,
  progress: { percent: 42, nodeId: "3", nodesDone: 2, nodesTotal: 7 },
  waitingReason: null,
  changes: null,
  error: null,
  outputCount: 0,
  metadata: {},
  timeoutMs: 1000,
  executionMs: 0,
  createdAt: "2025-01-01T00:00:00.000Z",
  startedAt: null,
  endedAt: null,
};
const ended: JobView = { ...job, status: "completed", endedAt: "2025-01-01T00:00:01.000Z" };

describe("progress", () => {
  it("says where in the graph a job is, which attempt, and why it waits", () => {
    expect(stateText({ ...job, attemptCount: 2, waitingReason: "no machine\nhas it" })).toBe(
      "processing, attempt 2, node 3 of 7, no machine has it",
    );
    expect(stateText({ ...job, held: true })).toMatch(/^held/);
  });

  it("draws a bar that fits the screen", () => {
    const bar = progressBar([job], 60);
    expect(bar).toMatch(/^█{10}░{14} {2}42 % {2}job 7 processing/);
    expect(progressBar([job], 30)).toHaveLength(29);
  });

  it("reaches 100 % only when a job has ended", () => {
    const almost = { ...job, progress: { ...job.progress, percent: 100 } } as JobView;
    expect(progressBar([almost], 80)).toContain(" 99 %");
    expect(progressBar([ended], 80)).toContain("100 %");
  });

  it("counts several jobs by state", () => {
    expect(progressBar([job, ended], 90)).toContain("2 jobs: 1 processing, 1 completed");
  });

  it("prints a line when something changes that a person wants to know, and no other", () => {
    expect(progressLine(undefined, job)).toBe("job 7: 42 % processing, node 3 of 7");
    const soon = { ...job, progress: { ...job.progress, percent: 45 } } as JobView;
    expect(progressLine(job, soon)).toBeUndefined();
    const later = { ...job, progress: { ...job.progress, percent: 61 } } as JobView;
    expect(progressLine(job, later)).toBeDefined();
    expect(progressLine(job, { ...job, waitingReason: "the store is down" })).toBeDefined();
    expect(progressLine(job, ended)).toBe("job 7: completed");
  });
});
