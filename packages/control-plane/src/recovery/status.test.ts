import type { JobView } from "@holdfast/contract";
import { describe, expect, test } from "vitest";
import type { RecoveryStepFacts } from "./model.ts";
import { METADATA_KEY, toRecoveryStatus, type StatusFacts } from "./status.ts";

const VIEW: JobView = {
  id: `job_${"0".repeat(26)}`,
  number: 123,
  name: null,
  status: "processing",
  held: false,
  poison: false,
  priority: 0,
  tags: [],
  batchId: null,
  owner: "local",
  attemptCount: 1,
  failureCount: 0,
  progress: null,
  waitingReason: null,
  error: null,
  changes: null,
  outputCount: 0,
  metadata: {},
  timeoutMs: 1,
  executionMs: 0,
  createdAt: "2026-11-25T10:30:00.000Z",
  startedAt: null,
  endedAt: null,
};
const STEP: RecoveryStepFacts = {
  attempt: 1,
  round: 1,
  errorClass: "cuda_out_of_memory",
  strategy: "REDUCE_PARAMS",
  rung: "graph_changed",
  explain: "Reduced parameters for cuda_out_of_memory: batch 8 → 4.",
  endedAt: Date.UTC(2026, 10, 25, 10, 30),
  recovered: true,
};
const NEWEST = {
  nodeId: "3",
  attemptNumber: 1,
  percent: 40,
  sizeBytes: 16_384,
  savedMs: 1_500,
  createdAt: 0,
};
const facts = (more: Partial<StatusFacts> = {}): StatusFacts => ({
  job: { round: 1, recoveryCount: 0, metadata: {} },
  view: VIEW,
  steps: [],
  outputs: [],
  saved: { count: 0, newest: null },
  submitted: {},
  running: {},
  ...more,
});

test("a recovery reads as in the documents", () => {
  const { data } = toRecoveryStatus(facts({ steps: [STEP], saved: { count: 3, newest: NEWEST } }));
  expect(data.recovery_history[0]).toMatchObject({
    attempt: 1,
    message: "Reduced parameters for cuda_out_of_memory",
    success: true,
    timestamp: "2026-11-25T10:30:00.000Z",
  });
  expect(data.recovery_status).toEqual({
    total_attempts: 1,
    successful_attempts: 1,
    available_checkpoints: 3,
  });
});

describe("what was done", () => {
  test.each([
    ["free_memory_first", "", "REDUCE_PARAMS", "Freed memory"],
    ["split_batch", "", "REDUCE_PARAMS", "Split the batch"],
    ["graph_changed", "The VAE of node 8 works in tiles.", "REDUCE_PARAMS", "Decoded in tiles"],
    [
      "graph_changed",
      "The batch is rendered one picture at a time and put back together.",
      "REDUCE_PARAMS",
      "Split the batch",
    ],
    ["graph_changed", "something new", "REDUCE_PARAMS", "Reduced parameters"],
    ["no_such_rung", "", "SWITCH_MODEL", "Switched model"],
    ["toString", "", "ABORT", "Retried"],
    ["wait_for_connection", "", "RETRY", "Waited and retried"],
  ])("of %s (%s) is said by %s as: %s", (rung, explain, strategy, done) => {
    const step = { ...STEP, rung, explain, strategy };
    const { data } = toRecoveryStatus(facts({ steps: [step] }));
    expect(data.recovery_history[0]?.message).toBe(`${done} for cuda_out_of_memory`);
  });
});

test("retries are recoveries and retries by hand, also when the history is gone", () => {
  const retries = (steps: number, recoveryCount: number, round: number): number =>
    toRecoveryStatus(
      facts({
        steps: Array.from({ length: steps }, () => STEP),
        job: { round, recoveryCount, metadata: {} },
      }),
    ).data.retry_count;
  expect([retries(0, 0, 1), retries(2, 2, 1), retries(2, 0, 2), retries(0, 2, 1)]).toEqual([
    0, 2, 3, 2,
  ]);
});

test.each([
  ["queued", null, 0],
  ["processing", null, 0],
  ["processing", 40, 40],
  ["recovering", null, 0],
  ["completed", null, 100],
  ["failed", null, 0],
  ["timeout", null, 0],
  ["cancelled", null, 0],
] as const)("%s at %s percent is %i percent done", (status, percent, progress) => {
  const running = percent === null ? null : { percent, nodeId: null, nodesDone: 0, nodesTotal: 1 };
  const view = { ...VIEW, status, progress: running };
  expect(toRecoveryStatus(facts({ view })).data.progress).toBe(progress);
});

test("what was submitted stays beside what is in use; metadata of others says nothing here", () => {
  const metadata = { [METADATA_KEY]: { job_type: "image", parameters: { width: 1024, "3.x": 1 } } };
  const { data } = toRecoveryStatus(
    facts({
      job: { round: 1, recoveryCount: 0, metadata },
      submitted: { width: 1024, height: 512 },
      running: { width: 819, height: 512 },
      saved: { count: 1, newest: NEWEST },
    }),
  );
  expect(data).toMatchObject({
    job_type: "image",
    original_parameters: { width: 1024, height: 512, "3.x": 1 },
    parameters: { width: 819, height: 512 },
    last_checkpoint: { progress: 40, node_id: "3", saved_seconds: 1.5 },
  });
  for (const other of [undefined, null, [], "x", { job_type: 5, parameters: [1] }]) {
    const job = { round: 1, recoveryCount: 0, metadata: { [METADATA_KEY]: other } };
    const { data } = toRecoveryStatus(facts({ job }));
    expect([data.job_type, data.original_parameters]).toEqual([null, {}]);
  }
});
