import type { JobView } from "@holdfast/contract";
import { describe, expect, it } from "vitest";
import { expectedText, timeLeftText } from "./expectation-text.ts";
import { jobTable } from "./job-table.ts";

const CREATED = "2026-11-28T12:00:00.000Z";
const job = (more: Partial<JobView> = {}): JobView =>
  ({
    id: "job_1",
    number: 1,
    name: "cover",
    status: "queued",
    tags: [],
    attemptCount: 0,
    outputCount: 0,
    waitingReason: null,
    error: null,
    changes: null,
    expectedMs: null,
    etaSeconds: null,
    createdAt: CREATED,
    endedAt: null,
    ...more,
  }) as JobView;
const table = (...jobs: readonly JobView[]): string =>
  jobTable(jobs, Date.parse(CREATED) + 5_000, Infinity).join("\n");

describe("a list of jobs", () => {
  it("tells how long it is until an open job is completed", () => {
    const text = table(
      job({ etaSeconds: 75 }),
      job({ number: 2 }),
      job({ number: 3, status: "completed", endedAt: CREATED, name: "done" }),
    );
    expect(text).toMatch(/STATUS +LEFT +NAME$/m);
    expect(text).toMatch(/queued +about 1 min 15 s +cover$/m);
    expect(text).toMatch(/queued +not known yet +cover$/m);
    expect(text).toMatch(/completed +done$/m);
  });

  it("says why a job waits where that is told, and has no empty column for it", () => {
    expect(table(job())).not.toContain("WHY");
    const waiting = table(job({ waitingReason: "no machine has model a" }), job());
    expect(waiting).toMatch(/NAME +WHY$/m);
    expect(waiting).toMatch(/cover +no machine has model a$/m);
    expect(table(job({ endedAt: CREATED }))).not.toContain("LEFT");
  });
});

describe("what is expected of a job", () => {
  it("is told of an open one, also where it is not known", () => {
    const known = job({ expectedMs: 30_000, etaSeconds: 0, status: "processing" });
    expect([expectedText(known), timeLeftText(known)]).toEqual([
      "takes 30.0 s as a rule",
      "due now",
    ]);
    expect(expectedText(job())).toContain("not known yet");
    expect(timeLeftText(job())).toBe("not known yet");
    const ended = job({ endedAt: CREATED });
    expect([expectedText(ended), timeLeftText(ended)]).toEqual(["", ""]);
  });
});
