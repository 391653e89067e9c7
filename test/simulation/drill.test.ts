/** A short drill, and twins that show what it would notice. `npm run drill` is the whole one. */
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { runDrill, type DrillOptions, type DrillResult } from "../drill/drill.ts";
import type { FaultKind } from "../drill/fault-kind.ts";
import { judge, TOLD_WITHIN_MS } from "../drill/judge.ts";
import { FAULT_KINDS, planFaults, TRANSIENT_SHARE_MAX } from "../drill/plan.ts";
import type { FaultRecord } from "../drill/record.ts";
import { reportOf } from "../drill/report.ts";
import { createSimTemplate, type SimTemplate } from "./world/database.ts";

const FAULTS = 60;
const SEED = 1;

let template: SimTemplate;
beforeAll(async () => {
  template = await createSimTemplate(inject("holdfastPostgresUrl"));
});
afterAll(() => template.drop());

const run = (options: Partial<DrillOptions> = {}): Promise<DrillResult> =>
  runDrill({
    seed: SEED,
    count: FAULTS,
    serverUrl: inject("holdfastPostgresUrl"),
    template,
    ...options,
  });

describe("a short drill", () => {
  it("meets its targets, and calls nothing completed that is not", async () => {
    const result = await run();
    const { score, judged } = result;
    const missed = score.targets.filter(({ isMet }) => !isMet).map(({ name }) => name);
    expect(missed, reportOf(result)).toEqual([]);
    expect(score.falseCompletions, reportOf(result)).toBe(0);
    expect(judged.filter(({ record }) => !record.hasStruck)).toHaveLength(0);
    expect(new Set(judged.map(({ kind }) => kind.name)).size).toBe(FAULT_KINDS.length);
  });

  it("finds every picture false whose bytes were changed on their way", async () => {
    const only = ["POSTs are reset before they are taken", "somebody else interrupts"];
    const { score } = await run({
      only,
      sabotage: {
        onInstance: ({ comfy }) => {
          const rule = { kind: "corrupt_file", how: "alter", match: { count: 0 } } as const;
          comfy.simulator.faults.add(rule);
        },
      },
    });
    expect(score.faults).toBeGreaterThanOrEqual(only.length);
    expect(score.falseCompletions).toBe(score.faults);
    expect(score.isPassed).toBe(false);
  });
});

describe("the plan", () => {
  it("has every kind by its weight, few that go away by themselves, and the same for a seed", () => {
    const planned = planFaults(7, 1_000);
    expect(planned).toHaveLength(1_000);
    expect(planFaults(7, 1_000)).toEqual(planned);
    expect(planFaults(8, 1_000)).not.toEqual(planned);
    const transient = planned.filter(({ kind }) => kind.isTransient).length;
    expect(transient).toBeGreaterThan(0);
    expect(transient / 1_000).toBeLessThanOrEqual(TRANSIENT_SHARE_MAX);
    expect(new Set(planned.map(({ kind }) => kind.name)).size).toBe(FAULT_KINDS.length);
  });
});

const kindNamed = (name: string): FaultKind => {
  const kind = FAULT_KINDS.find((one) => one.name === name);
  if (kind === undefined) throw new Error(`there is no fault "${name}"`);
  return kind;
};

describe("the judge", () => {
  const picture = (nodeId: string, pixels: string) => ({ nodeId, ordinal: 0, pixels });
  const completed: FaultRecord = {
    index: 0,
    kind: "",
    hasStruck: true,
    state: "completed",
    errorClass: null,
    isPoison: false,
    tookMs: 1_000,
    attempts: [],
    loss: "none",
    steps: [],
    pictures: [picture("9", "a"), picture("13", "b")],
    expected: [picture("13", "b"), picture("9", "a")],
    changed: [],
    samplers: 2,
  };
  const large = kindNamed("a picture too large for every card");

  it.each([
    ["an output is missing", [picture("9", "a")]],
    ["an output is there twice", [...completed.pictures, picture("9", "a")]],
    ["an output is another node's", [picture("9", "b"), picture("13", "a")]],
    ["there is none", []],
  ])("calls a completed job false when %s", (_what, pictures) => {
    expect(judge(large, completed)).toMatchObject({ isFalse: false, isRecovered: true });
    const verdict = judge(large, { ...completed, pictures });
    expect(verdict).toMatchObject({ isFalse: true, isRecovered: false });
  });

  it("takes changed values for right only when they are C1's", () => {
    const reduced = (width: number, steps: number): boolean | null => {
      const changed = [
        { nodeId: "5", input: "width", from: 1024, to: width },
        { nodeId: "3", input: "steps", from: 30, to: steps },
      ];
      return judge(large, { ...completed, loss: "size", steps: ["smaller"], changed })
        .isChangeRight;
    };
    expect([reduced(816, 24), reduced(648, 20), reduced(512, 20)]).toEqual([true, true, true]);
    expect([reduced(816, 20), reduced(819, 24), reduced(800, 24)]).toEqual([false, false, false]);
  });

  it("takes a switched model for right only when it is the one of C1's order", () => {
    const kind = kindNamed("the model is gone, only a fallback is there");
    const switched = (to: string): boolean | null => {
      const changed = [{ nodeId: "4", input: "ckpt_name", from: "gone", to }];
      return judge(kind, { ...completed, loss: "content", steps: ["other"], changed })
        .isChangeRight;
    };
    expect(switched("v1-5-pruned-emaonly.ckpt")).toBe(true);
    expect(switched("anything-v4.5-pruned.ckpt")).toBe(false);
  });

  it("takes a resume for right only when no finished sampler ran again", () => {
    const kind = kindNamed("a node hangs until it is interrupted");
    const after = (done: readonly [number, number]): boolean | null => {
      const attempt = { strategy: null, rule: null, action: null, reason: null };
      const attempts = [
        { ...attempt, outcome: "stalled", class: "timeout", samplersDone: done[0] },
        { ...attempt, outcome: "succeeded", class: null, samplersDone: done[1] },
      ];
      return judge(kind, { ...completed, attempts }).isResumeRight;
    };
    expect([after([2, 0]), after([1, 1]), after([2, 2]), after([0, 2])]).toEqual([
      true,
      true,
      false,
      null,
    ]);
  });

  it("wants what nobody can finish to end failed, of its class, soon", () => {
    const kind = kindNamed("every disk is full");
    const ended = (over: Partial<FaultRecord>): boolean | null => {
      const failed = { state: "failed", errorClass: "disk_full", pictures: [], expected: [] };
      return judge(kind, { ...completed, ...failed, ...over }).isEndedRightly;
    };
    expect(ended({})).toBe(true);
    expect(ended({ errorClass: "unknown" })).toBe(false);
    expect(ended({ state: "timeout" })).toBe(false);
    expect(ended({ tookMs: TOLD_WITHIN_MS + 1 })).toBe(false);
  });
});
