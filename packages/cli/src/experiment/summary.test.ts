import { describe, expect, it } from "vitest";
import { endLines, exitCodeOf, namesText, type EndFacts } from "./summary.ts";

const facts = (over: Partial<EndFacts> = {}): EndFacts => ({
  end: { kind: "finished" },
  view: { completed: 245, failed: 2, down: [], inFlight: [], startFrom: 250 },
  count: 250,
  folder: "out/castle-12345678",
  again: (startFrom) => `again ${startFrom ?? "--resume"}`,
  untouched: 0,
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
      "they are repeated by: again --resume",
    ]);
  });

  it("says what nobody asked for, and how to have it", () => {
    const one = endLines(facts({ failed: [], untouched: 5 }));
    expect(one.slice(1)).toEqual([
      "5 were not asked for (--start-from), and not rendered by any process before",
      "all that is left is done by: again --resume",
    ]);
    expect(endLines(facts({ down: [4], untouched: 1 })).slice(3)).toEqual([
      "1 was not asked for (--start-from), and not rendered by any process before",
      "all that is left is done by: again --resume",
    ]);
    expect(exitCodeOf(facts({ failed: [], untouched: 5 }))).toBe(0);
  });

  it("says what a service refused, and to put it right first", () => {
    const end = { kind: "refused", reason: "there is no such bucket" } as const;
    expect(endLines(facts({ end, down: [4], untouched: 5 })).slice(2)).toEqual([
      "1 failed because a service refused them or was down: exp_0004",
      "stopped, for no other one would do better: there is no such bucket",
      "go on once that is put right: again --resume",
    ]);
    expect(exitCodeOf(facts({ end }))).toBe(2);
  });

  it("says how to go on", () => {
    const end = { kind: "unhealthy", experiment: 120 } as const;
    expect(endLines(facts({ end })).at(-1)).toContain("again 120");
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
