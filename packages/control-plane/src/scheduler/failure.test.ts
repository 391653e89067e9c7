import { classify } from "@holdfast/recovery";
import { seededRandom } from "@holdfast/runtime";
import { describe, expect, it } from "vitest";
import {
  classifyOutcome,
  judgeFailure,
  wantsGraph,
  type FailureContext,
  type UnfinishedOutcome,
} from "./failure.ts";

const context = (
  outcome: UnfinishedOutcome,
  over: Partial<Omit<FailureContext, "facts">> & { facts?: Partial<FailureContext["facts"]> } = {},
): FailureContext => ({
  outcome,
  classified: classifyOutcome(outcome, classify),
  started: true,
  executeMs: 100,
  earlier: { failures: [], freeReturns: 0, surplusReturns: 0 },
  otherInstancesCanServe: false,
  maxRetryAttempts: 3,
  recoveryEnabled: true,
  graph: null,
  hasClass: () => true,
  ...over,
  facts: {
    number: 1,
    owner: "local",
    batchId: null,
    requirementId: 1,
    attemptNumber: 1,
    instanceId: "i1",
    round: 1,
    lineage: 1,
    failureCount: 0,
    recoveryCount: 0,
    deadInstances: [],
    avoidInstances: [],
    timeoutMs: 60_000,
    executionMs: 0,
    maxRetryAttempts: null,
    maxLoss: null,
    plan: null,
    graphId: 1,
    patch: null,
    held: false,
    ...over.facts,
  },
});
const judge = (input: FailureContext) => judgeFailure(input, seededRandom(1));
const OOM: UnfinishedOutcome = {
  kind: "failed",
  evidence: {
    channel: "execution",
    exceptionType: "torch.OutOfMemoryError",
    message: "Allocation on device",
    nodeId: "3",
    nodeType: "KSampler",
  },
  outputs: [],
};

describe("judgeFailure", () => {
  it("frees memory before the same job runs again after running out of it", () => {
    const verdict = judge(context(OOM));
    expect(verdict.error).toMatchObject({ class: "cuda_out_of_memory", nodeId: "3" });
    expect(verdict.change).toMatchObject({
      state: "queued",
      failureCount: 1,
      plan: { before: "free_memory", version: 1 },
    });
  });

  it("keeps the operator's own name of an error beside the class", () => {
    const custom = { pattern: "p", errorType: "vendor_busy", maxRetries: null, adjustments: {} };
    const own = () => ({ ...classify({ channel: "execution", message: "x" }), custom });
    const verdict = judge(context(OOM, { classified: classifyOutcome(OOM, own) }));
    expect(verdict.error).toMatchObject({ class: "unknown", customType: "vendor_busy" });
    expect(judge(context(OOM)).error).not.toHaveProperty("customType");
  });

  it("looks at the graph only where another one could help", () => {
    expect(wantsGraph(OOM, classifyOutcome(OOM, classify))).toBe(true);
    const drained: UnfinishedOutcome = { kind: "interrupted", reason: "drain" };
    expect(wantsGraph(drained, classifyOutcome(drained, classify))).toBe(false);
  });

  it("ends a job at its first failure when recovery is switched off", () => {
    const verdict = judge(context(OOM, { recoveryEnabled: false }));
    expect(verdict.change).toMatchObject({ state: "failed", poison: false });
  });

  it("ends a job as timeout when its execution time is used up", () => {
    const verdict = judge(context(OOM, { executeMs: 60_000 }));
    expect(verdict.change.state).toBe("timeout");
    expect(verdict.decision.explain).toContain("60 s");
  });

  it("charges nothing for work given back", () => {
    const verdict = judge(context({ kind: "released", reason: "drain" }));
    expect(verdict.change).toMatchObject({ state: "queued", failureCount: 0, recoveryCount: 0 });
    expect(verdict.error).toBeNull();
  });

  it("speaks of a drain only where one interrupted the run", () => {
    const died = judge(context({ kind: "released", reason: "the instance died" }));
    expect(died.change.waitingReason).toBe(
      "The job was given back before it began; it is queued again at no cost.",
    );
    const drained = judge(context({ kind: "interrupted", reason: "drain" }));
    expect(drained.change.waitingReason).toMatch(/being emptied/);
  });

  it("does not call an instance dead under a job that was only staged there", () => {
    const died: UnfinishedOutcome = {
      kind: "instance_died",
      evidence: { channel: "process_exit", message: "gone" },
    };
    const staged = judge(context(died, { started: false, facts: { deadInstances: ["i0"] } }));
    expect(staged.change).toMatchObject({ poison: false, deadInstances: ["i0"] });
    const running = judge(context(died, { facts: { deadInstances: ["i0"] } }));
    expect(running.change).toMatchObject({ state: "failed", poison: true });
  });

  it("keeps away from the instance when somebody else can serve", () => {
    const stalled: UnfinishedOutcome = {
      kind: "stalled",
      evidence: { channel: "stall", message: "no progress" },
    };
    const verdict = judge(context(stalled, { otherInstancesCanServe: true }));
    expect(verdict.change.avoidInstances).toEqual(["i1"]);
  });

  it("shows a wait as recovering, with the reason", () => {
    const refused: UnfinishedOutcome = {
      kind: "failed",
      evidence: { channel: "connection", message: "connect ECONNREFUSED 127.0.0.1:8188" },
      outputs: [],
    };
    const verdict = judge(context(refused));
    expect(verdict.change.state).toBe("recovering");
    expect(verdict.change.delayMs).toBeGreaterThanOrEqual(1_600);
    expect(verdict.change.waitingReason).toMatch(/tried again/);
  });

  it("gives a job's own retry limit precedence", () => {
    const verdict = judge(context(OOM, { facts: { maxRetryAttempts: 0 } }));
    expect(verdict.change.state).toBe("failed");
  });
});
