import { expect, it } from "vitest";
import type { GrantedJob, JobPlan, SchedulerSettings } from "./model.ts";
import { toLease } from "./to-lease.ts";

const SETTINGS: SchedulerSettings = {
  leaseTtlMs: 1,
  renewEveryMs: 1,
  pollWaitMs: 1,
  stalls: { progressMs: 1, firstLoadMs: 1, isFixed: { progress: false, firstLoad: false } },
  maxRetryAttempts: 1,
  recoveryEnabled: true,
  fallbackModels: [],
  modelWaitMs: 1,
  checkpoints: "off",
  checkpointMinWork: 1,
};
const graph = { "1": { class_type: "SaveImage", inputs: {} } };

function beforeOf(plan: Partial<JobPlan> | null, restartable: readonly string[]) {
  const job = {
    jobId: "j",
    attemptId: "a",
    instanceId: "ins_1",
    graphId: 1,
    patch: null,
    plan: plan === null ? null : { version: 1, before: "nothing", patch: null, ...plan },
    inputs: [],
    storedOutputs: [],
    timeoutMs: 1,
    executionMs: 0,
    checkpoints: null,
    maxLoss: null,
  } as unknown as GrantedJob;
  return toLease(job, "fresh", {
    templates: new Map([[1, graph]]),
    saved: new Map(),
    restartable: new Set(restartable),
    settings: SETTINGS,
    profileOf: () => undefined,
  }).before;
}
const RESTART = { before: "restart_instance", restartAt: "ins_1" } as const;

it.each([
  ["nothing without a plan", null, ["ins_1"], "nothing"],
  ["what the plan says", { before: "free_memory" as const }, [], "free_memory"],
  ["a restart where the job failed, of an agent that can", RESTART, ["ins_1"], "restart_instance"],
  ["nothing of an agent that does not know restarts", RESTART, [], "nothing"],
  [
    "nothing on an instance that did nothing wrong",
    { ...RESTART, restartAt: "ins_2" },
    ["ins_1"],
    "nothing",
  ],
])("a lease asks for %s", (_what, plan, restartable, before) => {
  expect(beforeOf(plan, restartable)).toBe(before);
});
