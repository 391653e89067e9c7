import { describe, expect, it } from "vitest";
import type { BreakerView } from "./breaker.ts";
import { reasonText } from "./breaker-words.ts";
import { DEFAULT_BREAKER_POLICY } from "./policy.ts";

const view = (more: Partial<BreakerView>): BreakerView => ({
  seen: 6,
  failed: 4,
  rate: 4 / 6,
  state: "closed",
  since: null,
  isChecked: true,
  resumesAt: null,
  probeAt: null,
  timeline: [],
  causes: { no_start: 0, no_heartbeat: 0, crash: 4, fault_report: 0, provider_error: 0 },
  ...more,
});
const words = (more: Partial<BreakerView>): string =>
  reasonText(view(more), DEFAULT_BREAKER_POLICY);
const FEW = { state: "half_open", seen: 2, failed: 2, rate: 1, isChecked: false } as const;

describe("why machines may be started or not", () => {
  it("has the rate and the threshold that it is measured by", () => {
    expect(words({ state: "open", failed: 5, rate: 5 / 6 })).toBe(
      "failure rate 83.3% (5/6 machines in last 30 minutes) is at or over the threshold of 80%",
    );
    expect(words({})).toContain("66.7% (4/6 machines in last 30 minutes) is under the threshold");
    expect(words({ state: "half_open" })).toBe(
      "failure rate 66.7% (4/6 machines in last 30 minutes) fell under the threshold of 80%; one machine at a time until one is healthy",
    );
  });

  it("never calls a rate under the threshold that is over it, and of too few machines", () => {
    expect(words(FEW)).toBe(
      "2 of 2 machines in the last 30 minutes failed, fewer machines than the 5 that a check needs; one machine at a time until one is healthy",
    );
  });

  it("says when the next machine is tried where those that were tried failed", () => {
    expect(words({ ...FEW, probeAt: Date.parse("2026-01-31T12:32:30Z") })).toMatch(
      /; those that were tried have failed too: the next one is tried at 2026-01-31T12:32:30\.000Z$/,
    );
  });
});
