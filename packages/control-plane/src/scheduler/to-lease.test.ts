import { expect, it } from "vitest";
import type { Profile } from "../profiles/profile.ts";
import { addRun, NO_STATISTICS, type ProfileStatistics } from "../profiles/statistics.ts";
import type { GrantedJob, JobPlan, SchedulerSettings } from "./model.ts";
import { toLease } from "./to-lease.ts";

const SETTINGS: SchedulerSettings = {
  leaseTtlMs: 1,
  renewEveryMs: 1,
  pollWaitMs: 1,
  stalls: {
    progressMs: 120_000,
    firstLoadMs: 300_000,
    isFixed: { progress: false, firstLoad: false },
  },
  maxRetryAttempts: 1,
  recoveryEnabled: true,
  fallbackModels: [],
  modelWaitMs: 1,
  checkpoints: "off",
  checkpointMinWork: 1,
};
const graph = { "1": { class_type: "SaveImage", inputs: {} } };

function leaseOf(
  plan: Partial<JobPlan> | null,
  restartable: readonly string[],
  more: { readonly attemptNumber: number; readonly statistics?: ProfileStatistics } = {
    attemptNumber: 1,
  },
) {
  const job = {
    attemptNumber: more.attemptNumber,
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
    profileOf: () =>
      more.statistics === undefined ? undefined : ({ statistics: more.statistics } as Profile),
  });
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
  expect(leaseOf(plan, restartable).before).toBe(before);
});

it("a profile gives less time to the first attempt alone: it may be wrong, and must not end them all", () => {
  const run = { executeMs: 1, isCold: false, loadSilenceMs: 1, stepSilenceMs: 1 };
  let statistics = NO_STATISTICS;
  for (let n = 0; n < 20; n += 1) statistics = addRun(statistics, run);
  const of = (attemptNumber: number) => leaseOf(null, [], { attemptNumber, statistics }).stall;
  expect(of(1).warm).toEqual({ progressMs: 30_000, firstLoadMs: 30_000 });
  expect(of(2)).toEqual({ progressMs: 120_000, firstLoadMs: 300_000 });
});
