import { attemptSchema, jobSchema, outputSchema } from "@holdfast/contract";
import { expect, test } from "vitest";
import { HOLD_REASON, type Job } from "./model.ts";
import { toAttemptView, toEventView, toJobView, toOutputView } from "./view.ts";

const JOB: Job = {
  id: "job_00000000000000000000000001",
  number: 7,
  owner: "key_ann",
  state: "processing",
  held: false,
  poison: false,
  priority: 0,
  requirementId: 1,
  costKey: null,
  graphId: 1,
  patch: null,
  plan: null,
  lineage: 1,
  round: 1,
  inputs: [],
  promised: [],
  leaseEpoch: 1,
  attemptCount: 1,
  failureCount: 0,
  recoveryCount: 0,
  runAt: null,
  waitingReason: null,
  timeoutMs: 1000,
  executionMs: 0,
  policy: {},
  name: null,
  tags: ["a"],
  batchId: null,
  metadata: { a: 1 },
  webhook: null,
  error: null,
  outputCount: 0,
  createdAt: 1_700_000_000_123,
  startedAt: 1_700_000_001_000,
  endedAt: null,
};

test("a job's view is what the contract says, its progress from the lease", () => {
  const progress = { percent: 50, nodeId: "3", nodesDone: 1, nodesTotal: 2 };
  const view = toJobView({ job: JOB, lease: { phase: "running", progress } });
  expect(jobSchema.parse(view)).toEqual(view);
  expect(view).toMatchObject({ progress, createdAt: "2023-11-14T22:13:20.123Z", endedAt: null });
});

test("progress that cannot be read is none, and a job without a lease has none", () => {
  const broken = { phase: "running", progress: { percent: 300 } } as const;
  expect(toJobView({ job: JOB, lease: broken }).progress).toBeNull();
  expect(toJobView({ job: JOB, lease: null }).progress).toBeNull();
});

test("a held job says so, unless it has a reason of its own", () => {
  const held = { ...JOB, state: "queued", held: true } as const;
  expect(toJobView({ job: held, lease: null }).waitingReason).toBe(HOLD_REASON);
  const reasoned = { ...held, waitingReason: "batch limit" };
  expect(toJobView({ job: reasoned, lease: null }).waitingReason).toBe("batch limit");
});

test.each([
  [false, null, "staged"],
  [true, null, "running"],
  [true, "succeeded", "ended"],
] as const)("an attempt that is started: %s, outcome: %s is %s", (isStarted, outcome, state) => {
  const saved = {
    nodeId: "3",
    sizeBytes: 65_536,
    percent: 60,
    spentMs: 9_000,
    savedAt: 1_700_000_000_000,
    problem: null,
  };
  const view = toAttemptView(
    {
      id: "att_00000000000000000000000001",
      number: 1,
      round: 1,
      instanceId: "ins_1",
      instanceName: "gpu0",
      machineId: "mch_1",
      promptId: "p",
      isStarted,
      outcome,
      error: null,
      evidence: null,
      decision: null,
      grantedAt: 1_700_000_000_000,
      startedAt: null,
      endedAt: null,
      timings: {},
      resume: null,
    },
    [
      { ...saved, attemptId: "att_00000000000000000000000001" },
      { ...saved, attemptId: "att_2" },
    ],
    3_600_000,
  );
  expect(attemptSchema.parse(view)).toEqual(view);
  expect(view.state).toBe(state);
  expect(view.checkpoints).toEqual([
    { ...saved, savedAt: "2023-11-14T22:13:20.000Z", keptUntil: "2023-11-14T23:13:20.000Z" },
  ]);
});

test("an output names where its bytes are", () => {
  const view = toOutputView({
    id: "out_00000000000000000000000001",
    jobId: JOB.id,
    nodeId: "3",
    ordinal: 0,
    kind: "image",
    name: "a.png",
    mediaType: "image/png",
    sizeBytes: 1,
    sha256: "0".repeat(64),
    temporary: false,
    text: null,
  });
  expect(outputSchema.parse(view)).toEqual(view);
  expect(view.url).toBe("/api/v1/outputs/out_00000000000000000000000001/content");
});

test("an event without a payload has no data", () => {
  const event = { id: "evt_1", at: 1_700_000_000_000, version: 1, type: "job.queued" };
  expect(toEventView({ ...event, payload: null }).data).toEqual({});
  expect(toEventView({ ...event, payload: { a: 1 } }).data).toEqual({ a: 1 });
});
