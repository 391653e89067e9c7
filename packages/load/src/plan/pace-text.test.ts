import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { paceArb } from "../../testing/pace-arbitrary.ts";
import { parsePace, paceText } from "./pace-text.ts";
import { paceProblems } from "./pace.ts";

const read = (text: string) => {
  const reading = parsePace(text);
  return reading.kind === "ok" ? reading.pace : reading.problems;
};

describe("a pace as text", () => {
  it("comes back as it was", () => {
    fc.assert(
      fc.property(paceArb, (pace) => {
        expect(paceProblems(pace)).toEqual([]);
        expect(read(paceText(pace))).toEqual(pace);
      }),
    );
  });

  it("is read as people write it", () => {
    expect(read("4")).toEqual({ kind: "closed", inFlight: 4 });
    expect(read("open:30/min")).toEqual({ kind: "open", perSecond: 0.5, arrivals: "constant" });
    expect(read("poisson:2/s")).toEqual({ kind: "open", perSecond: 2, arrivals: "poisson" });
    expect(read("ramp:0/s..10/s@5min")).toEqual({
      kind: "ramp",
      loop: "open",
      from: 0,
      to: 10,
      overMs: 300_000,
      arrivals: "constant",
    });
    expect(read("step:1,2@60s,4@1.5min")).toEqual({
      kind: "step",
      loop: "closed",
      levels: [
        { value: 1, forMs: 60_000 },
        { value: 2, forMs: 60_000 },
        { value: 4, forMs: 90_000 },
      ],
      arrivals: "constant",
    });
  });

  it("has one text, however it was written", () => {
    const pace = parsePace("step:1,2@120s");
    expect(pace.kind === "ok" && paceText(pace.pace)).toBe("step:1@2min,2@2min");
  });

  it.each([
    ["", "open:2/s"],
    ["fast", "open:2/s"],
    ["open:4", "open:2/s"],
    ["closed:4/s", "open:2/s"],
    ["ramp:1..20", "open:2/s"],
    ["ramp:1..20/s@5min", "open:2/s"],
    ["ramp:1..2..3@5min", "open:2/s"],
    ["step:1,2", "open:2/s"],
    ["step:1,2/s@60s", "open:2/s"],
    ["step:1@60s@60s", "open:2/s"],
    ["burst:4", "open:2/s"],
    ["closed:0", "jobs in flight: expected a whole number from 1 to 10000, found 0"],
    ["closed:1.5", "found 1.5"],
    ["open:0/s", "jobs a second: expected over 0 to 10000, found 0"],
    ["ramp:1..20@0s", "time: expected over 0 to 7 days, found 0 ms"],
    ["ramp-poisson:1..20@60s", "expected no arrivals by chance"],
    ["step:1@800h", "time: expected over 0 to 7 days"],
    [`step:${"1,".repeat(100)}1@1s`, "expected 1 to 100 steps, found 101"],
    ["x".repeat(10_000), "…"],
  ])("says what was expected in place of %j", (text, words) => {
    const found = parsePace(text);
    expect(found.kind === "invalid" && found.problems.join("\n")).toContain(words);
  });
});
