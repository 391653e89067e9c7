import { classify } from "@holdfast/recovery";
import { seededRandom } from "@holdfast/runtime";
import { describe, expect, it } from "vitest";
import { toInventoryIndex } from "../machines/model.ts";
import { createServers } from "../machines/servers.ts";
import {
  classifyOutcome,
  judgeFailure,
  needsWith,
  wantsGraph,
  type FailureContext,
  type UnfinishedOutcome,
} from "./failure.ts";

const NEEDS = {
  nodeClasses: ["KSampler"],
  models: [{ folder: "checkpoints", name: "a.safetensors" }],
};
const fleetOf = (machines: readonly (readonly [string, readonly string[]])[]) =>
  createServersOf(machines, false);
function createServersOf(
  machines: readonly (readonly [string, readonly string[]])[],
  canRestart: boolean,
) {
  const known = machines.map(([id, checkpoints]) => ({
    instance: {
      id,
      machineId: `m-${id}`,
      key: id,
      name: id,
      state: "healthy" as const,
      reason: null,
      cordoned: false,
      inventoryDigest: id,
      vramFreeBytes: null,
      lastRequirementId: null,
      stateSince: 0,
      quarantine: null,
      canRestart,
      machineState: "online" as const,
    },
    inventory: toInventoryIndex({
      digest: id,
      nodeClasses: ["KSampler", "CheckpointLoaderSimple"],
      models: { checkpoints: [...checkpoints] },
      vramTotalBytes: null,
      deviceName: null,
      simulated: true,
    }),
  }));
  return createServers(
    known.map(({ instance }) => instance),
    known,
  );
}

const fleet = (...ids: readonly string[]) => fleetOf(ids.map((id) => [id, ["a.safetensors"]]));

const context = (
  outcome: UnfinishedOutcome,
  over: Partial<Omit<FailureContext, "facts">> & { facts?: Partial<FailureContext["facts"]> } = {},
): FailureContext => ({
  outcome,
  classified: classifyOutcome(outcome, classify),
  started: true,
  executeMs: 100,
  earlier: { failures: [], freeReturns: 0, surplusReturns: 0 },
  maxRetryAttempts: 3,
  recoveryEnabled: true,
  fallbackModels: ["sd_xl_base_1.0.safetensors"],
  graph: null,
  needs: NEEDS,
  servers: fleet("i1"),
  isModelFetchable: false,
  budgetDelayMs: 0,
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
      // What it finished there is still in that instance's memory.
      preferInstance: "i1",
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
    const verdict = judge(context(stalled, { servers: fleet("i1", "i2") }));
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

it("what is over the budget of retries waits, and says why; what is free does not", () => {
  const verdict = judge(context(OOM, { budgetDelayMs: 5_000 }));
  expect(verdict.change).toMatchObject({ state: "recovering", delayMs: 5_000 });
  expect(verdict.change.waitingReason).toMatch(/waits 5 s first/);
  const free = judge(context({ kind: "released", reason: "drain" }, { budgetDelayMs: 5_000 }));
  expect(free.change).toMatchObject({ state: "queued", delayMs: 0 });
});

describe("an instance that is ours to restart", () => {
  const FAULT: UnfinishedOutcome = {
    kind: "failed",
    evidence: {
      channel: "execution",
      exceptionType: "torch.AcceleratorError",
      message: "CUDA error: an illegal memory access was encountered",
    },
    outputs: [],
  };
  const ours = createServersOf([["i1", ["a.safetensors"]]], true);

  it("is restarted before the job runs there again, and the plan names it", () => {
    const verdict = judge(context(FAULT, { servers: ours }));
    expect(verdict.error?.class).toBe("gpu_fault");
    expect(verdict.change).toMatchObject({
      state: "queued",
      plan: { before: "restart_instance", restartAt: "i1" },
      preferInstance: "i1",
    });
  });

  it("is not where its agent did not say that it can", () => {
    const verdict = judge(context(FAULT));
    expect(verdict.change.plan).toBeNull();
  });

  it("is restarted once: the plan says nothing of it when that attempt has run", () => {
    const plan = { version: 1, before: "restart_instance" as const, restartAt: "i1", patch: null };
    const drained: UnfinishedOutcome = { kind: "interrupted", reason: "drain" };
    const verdict = judge(context(drained, { servers: ours, facts: { plan } }));
    expect(verdict.change.plan).toMatchObject({ before: "nothing" });
    const released: UnfinishedOutcome = { kind: "released", reason: "drain" };
    const unstarted = judge(context(released, { servers: ours, started: false, facts: { plan } }));
    expect(unstarted.change.plan).toMatchObject({ before: "restart_instance" });
  });
});

describe("a model that is not there", () => {
  const GRAPH = {
    "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "a.safetensors" } },
  };
  const GONE: UnfinishedOutcome = {
    kind: "failed",
    evidence: {
      channel: "execution",
      exceptionType: "FileNotFoundError",
      message: "Model in folder 'checkpoints' with filename 'a.safetensors' not found.",
      nodeId: "1",
      nodeType: "CheckpointLoaderSimple",
    },
    outputs: [],
  };
  const there = fleetOf([["i1", ["a.safetensors", "sd_xl_base_1.0.safetensors"]]]);

  it("is looked for elsewhere first", () => {
    const verdict = judge(context(GONE, { graph: GRAPH, servers: fleet("i1", "i2") }));
    expect(verdict.decision).toMatchObject({ rung: "instance_with_model", where: "elsewhere" });
    expect(verdict.change).toMatchObject({ avoidInstances: ["i1"], needs: null });
  });

  it("is switched where nobody else has it, and the job waits for the substitute", () => {
    const verdict = judge(context(GONE, { graph: GRAPH, servers: there }));
    expect(verdict.decision).toMatchObject({
      rung: "switch_model",
      explain: "Switched model: a.safetensors → sd_xl_base_1.0.safetensors",
    });
    const next = {
      ...NEEDS,
      models: [{ folder: "checkpoints", name: "sd_xl_base_1.0.safetensors" }],
    };
    expect(verdict.change).toMatchObject({
      state: "queued",
      startsLineage: true,
      needs: { own: NEEDS, next },
      plan: { ownNeeds: NEEDS, changes: { loss: "content" } },
    });
  });

  it("keeps the needs of the caller's own graph when it is switched again", () => {
    const plan = {
      version: 1,
      before: "nothing" as const,
      patch: null,
      recipe: {
        reductions: [],
        tiledNodes: [],
        partSize: null,
        models: [{ folder: "checkpoints", from: "own.ckpt", to: "a.safetensors" }],
      },
      ownNeeds: { nodeClasses: ["KSampler"], models: [] },
    };
    const verdict = judge(
      context(GONE, {
        graph: { "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "own.ckpt" } } },
        servers: there,
        facts: { plan },
      }),
    );
    expect(verdict.change.needs?.own).toEqual(plan.ownNeeds);
    expect(verdict.change.needs?.next.models).toEqual([
      { folder: "checkpoints", name: "sd_xl_base_1.0.safetensors" },
    ]);
  });
});

it("needs name each model once, in order, after a replacement", () => {
  const model = (name: string) => ({ folder: "checkpoints", name });
  const replaced = needsWith({ nodeClasses: ["X"], models: [model("a"), model("z")] }, [
    { folder: "checkpoints", from: "a", to: "z" },
    { folder: "loras", from: "z", to: "y" },
  ]);
  expect(replaced).toEqual({ nodeClasses: ["X"], models: [model("z")] });
});

describe("time", () => {
  const late = (percent: unknown, sinceLastSignMs: number): UnfinishedOutcome => ({
    kind: "failed",
    evidence: {
      channel: "stall",
      exceptionType: "execution_time_limit",
      message: "The run took longer than its limit of 60000 ms.",
      timing: { sinceLastSignMs },
      extra: { interruptConfirmed: true, percent },
    },
    outputs: [],
  });

  it("is extended once for a run that moved, and its plan says by how much", () => {
    const input = context(late(90, 500), { executeMs: 60_000, facts: { timeoutMs: 60_000 } });
    expect(judge(input).change.state).toBe("timeout");
    const near = context(late(90, 500), { executeMs: 40_000, facts: { executionMs: 20_000 } });
    const verdict = judge(near);
    expect(verdict.change).toMatchObject({ state: "queued", plan: { extendedMs: 55_556 } });
    const again = {
      ...near,
      facts: { ...near.facts, executionMs: 80_000, plan: verdict.change.plan },
    };
    expect(judge(again).change.state).toBe("timeout");
  });

  it("is not extended for one that stood still, or of which nobody knows", () => {
    for (const outcome of [late(90, 90_000), late(null, 500), late("90", 500)]) {
      const input = context(outcome, { executeMs: 40_000, facts: { executionMs: 20_000 } });
      expect(judge(input).change.state).toBe("timeout");
    }
  });
});
