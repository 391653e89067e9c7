import { describe, expect, it } from "vitest";
import { CLOSED, NOW, OPEN } from "../../testing/fleet-facts.ts";
import { breakerLines, causesText, instantText } from "./breaker-text.ts";

const LOOK = { now: NOW, columns: 140 };

describe("the breaker in words", () => {
  it("is what the contract says", () => {
    expect(breakerLines(OPEN, LOOK)).toEqual([
      "Failure rate     85.7% (6/7 machines in last 30 minutes)",
      "Threshold        80%, from 5 machines on",
      "Spawning         BLOCKED: failure rate 85.7% (6/7 machines in last 30 minutes) is at or over the threshold of 80%",
      "Breaker          open since 2026-01-31T12:04:30.000Z",
      "Resumes          2026-01-31T12:32:30.000Z (in 22 min 30 s), if nothing else fails",
      "Timeline         the rate after each failure has left the window",
      "  2026-01-31T12:30:30.000Z (in 20 min 30 s)   83.3%",
      "  2026-01-31T12:31:30.000Z (in 21 min 30 s)     80%",
      "  2026-01-31T12:32:30.000Z (in 22 min 30 s)     75%  spawning resumes",
      "  2026-01-31T12:33:30.000Z (in 23 min 30 s)   66.7%",
      "  2026-01-31T12:34:30.000Z (in 24 min 30 s)     50%",
      "  2026-01-31T12:35:30.000Z (in 25 min 30 s)      0%",
      "Failures by      no_start 5, crash 1",
    ]);
  });

  it("is short while nothing has failed", () => {
    expect(breakerLines(CLOSED, LOOK)).toEqual([
      "Failure rate     0.0% (0/1 machine in last 30 minutes)",
      "Threshold        80%, from 5 machines on",
      "Spawning         ALLOWED: 1 of the 5 machines that a check needs were seen in the last 30 minutes",
      "Breaker          closed",
    ]);
  });

  it("tells the next probe, and what was cleared", () => {
    const probing = {
      ...CLOSED,
      state: "half-open" as const,
      spawning: "BLOCKED" as const,
      probeAt: "2026-01-31T12:40:00.000Z",
      clearedBefore: "2026-01-31T12:00:00.000Z",
      minimum: 1,
    };
    const lines = breakerLines(probing, LOOK);
    expect(lines).toContain(
      "Next probe       2026-01-31T12:40:00.000Z (in 30 min 0 s): those before it failed",
    );
    expect(lines).toContain(
      "Threshold        80%, from 1 machine on; failures before 2026-01-31T12:00:00.000Z are cleared",
    );
  });

  it("shows the instant that matters however long the timeline is", () => {
    const timeline = Array.from({ length: 40 }, (_, n) => ({
      at: new Date(NOW + n * 1_000).toISOString(),
      rate: (40 - n) / 50,
    }));
    const resumesAt = timeline[30]?.at ?? "";
    const lines = breakerLines({ ...OPEN, timeline, resumesAt }, LOOK);
    expect(lines).toContain("  … and 28 more (--json has all)");
    expect(lines.find((line) => line.endsWith("spawning resumes"))).toContain(resumesAt);
  });

  it("folds what is too wide for the screen", () => {
    expect(breakerLines(OPEN, { now: NOW, columns: 60 }).slice(2, 5)).toEqual([
      "Spawning         BLOCKED: failure rate 85.7% (6/7 machines",
      "                 in last 30 minutes) is at or over the",
      "                 threshold of 80%",
    ]);
  });

  it("says that it does not know, rather than nothing", () => {
    expect(breakerLines({ ...OPEN, resumesAt: null }, LOOK)).toContain(
      "Resumes          not known",
    );
  });
});

it("causes are the most frequent first, and none that was not", () => {
  expect(causesText({ crash: 1, no_start: 5, no_heartbeat: 0 })).toBe("no_start 5, crash 1");
  expect(causesText({ crash: 0 })).toBe("");
});

it("an instant that has come is now", () => {
  expect(instantText("2026-01-31T12:10:00.000Z", NOW)).toBe("2026-01-31T12:10:00.000Z (now)");
});
