import { describe, expect, it } from "vitest";
import { endLines, exitCodeOf, namesText, type EndFacts } from "./summary.ts";

const facts = (over: Partial<EndFacts> = {}): EndFacts => ({
  end: { kind: "finished" },
  view: { completed: 245, failed: 2, down: [], inFlight: [], startFrom: 250 },
  count: 250,
  folder: "out/castle-12345678",
  failed: [3, 17],
  down: [],
  ...over,
});

describe("the end of an experiment", () => {
  it("names what failed and why it is worth doing again", () => {
    expect(endLines(facts({ down: [247, 248, 249] }))).toEqual([
      "245 of 250 experiments completed; results in out/castle-12345678",
      "2 failed for a reason of their own: exp_0003 and exp_0017",
      "3 failed because a service was down: exp_0247, exp_0248 and exp_0249",
      "they are repeated by: holdfast experiment run … --count 250 --resume",
    ]);
  });

  it("says how to go on", () => {
    const end = { kind: "unhealthy", experiment: 120 } as const;
    expect(endLines(facts({ end })).at(-1)).toContain("--start-from 120");
    expect(endLines(facts({ end: { kind: "interrupted" } })).at(-1)).toContain("--resume");
  });

  it("has an exit code for scripts", () => {
    const code = (over: Partial<EndFacts>) => exitCodeOf(facts(over));
    expect(code({ failed: [] })).toBe(0);
    expect(code({})).toBe(1);
    expect(code({ failed: [], down: [9] })).toBe(1);
    expect(code({ end: { kind: "unhealthy", experiment: 10 } })).toBe(4);
    expect(code({ end: { kind: "interrupted" } })).toBe(130);
  });

  it("tells no more names than a person reads", () => {
    expect(namesText([1])).toBe("exp_0001");
    expect(namesText(Array.from({ length: 133 }, (_, i) => 117 + i))).toMatch(
      /exp_0126 and 123 more$/,
    );
  });
});
