import { seededRandom } from "@holdfast/runtime";
import { describe, expect, it } from "vitest";
import { FaultPlan } from "./plan.ts";
import { parseFaultRule } from "./rules.ts";

function pattern(seed: number): string {
  const plan = new FaultPlan(seededRandom(seed));
  plan.add({ kind: "oom", match: { probability: 0.5, count: 0 } });
  const strikes = Array.from({ length: 40 }, () => plan.strike("oom", {}));
  return strikes.map((strike) => (strike === null ? "." : "x")).join("");
}

describe("a fault rule", () => {
  it("strikes once unless it says how often", () => {
    const plan = new FaultPlan(seededRandom(1));
    plan.add({ kind: "oom" });
    plan.add({ kind: "delay", ms: 1, match: { count: 2 } });
    plan.add({ kind: "raise", match: { count: 0 } });
    const times = (kind: "oom" | "delay" | "raise"): number =>
      Array.from({ length: 5 }, () => plan.strike(kind, {})).filter((each) => each !== null).length;
    expect([times("oom"), times("delay"), times("raise")]).toEqual([1, 2, 5]);
  });

  it("waits for its prompt, its node and its path", () => {
    const plan = new FaultPlan(seededRandom(1));
    plan.promptStarts("before");
    plan.add({ kind: "oom", match: { nthPrompt: 2, nodeClass: "KSampler" } });
    plan.add({ kind: "reset", match: { path: "/prompt", method: "POST" } });
    plan.promptStarts("one");
    expect(plan.strike("oom", { promptId: "one", classType: "KSampler" })).toBeNull();
    plan.promptStarts("two");
    expect(plan.strike("oom", { promptId: "two", classType: "VAEDecode" })).toBeNull();
    expect(plan.strike("oom", { promptId: "two", classType: "KSampler" })).not.toBeNull();
    expect(plan.strike("reset", { path: "/prompt", method: "GET" })).toBeNull();
    expect(plan.strike("reset", { path: "/history/x", method: "POST" })).toBeNull();
    expect(plan.strike("reset", { path: "/prompt", method: "POST" })).not.toBeNull();
  });

  it("strikes by chance in the same places for the same seed", () => {
    expect(pattern(3)).toBe(pattern(3));
    expect(pattern(3)).not.toBe(pattern(4));
    expect(pattern(3)).toMatch(/x.*\..*x|\..*x.*\./);
  });

  it.each([
    [null, "expected an object"],
    [{ kind: "melt" }, "kind: expected one of"],
    [{ kind: "delay" }, "ms: expected a number"],
    [{ kind: "oom", match: 5 }, "match: expected an object"],
  ])("%j is refused with what is wrong", (value, message) => {
    expect(parseFaultRule(value)).toContain(message);
  });
});
