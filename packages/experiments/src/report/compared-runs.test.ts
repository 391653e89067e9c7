import { expect, test } from "vitest";
import type { ResultRecord } from "../results/record.ts";
import { comparedRuns } from "./compared-runs.ts";

const AT = "2026-01-02T03:04:05.678Z";
const record = (index: number, over: Partial<ResultRecord> = {}): ResultRecord => ({
  index,
  name: `exp_000${index}`,
  title: "castle_wide",
  attempt: 1,
  promptId: null,
  seed: "18446744073709551615",
  values: { steps: 20 },
  status: "completed",
  startedAt: AT,
  endedAt: AT,
  durationMs: 10,
  error: null,
  recovery: [],
  outputs: [],
  metrics: {},
  ...over,
});
const down = { class: "connection", message: "refused", isInfrastructure: true };
const extras = { setOf: () => [], lossOf: () => 0 as const };

const output = (stored: string) => ({ stored, sha256: "a".repeat(64), sizeBytes: 1 });

test("records become runs: the end that counts, those before it, and pictures by their names", () => {
  const runs = comparedRuns(
    [
      record(1, { status: "failed", error: down, attempt: 2 }),
      record(0, { attempt: 2, outputs: [output("images/a.PNG"), output("images/a.latent")] }),
      record(1, { status: "failed", error: { ...down, isInfrastructure: false } }),
      record(0, { status: "failed", error: down }),
      record(0, { status: "failed", error: down }),
      record(2, { status: "failed", error: { ...down, isInfrastructure: false } }),
    ],
    extras,
  );
  expect(runs).toMatchObject([
    {
      index: 0,
      status: "completed",
      attempts: 2,
      error: null,
      images: [{ path: "images/a.PNG" }],
      earlier: [{ attempt: 1, endedAt: AT, ...down }],
    },
    { index: 1, status: "down", attempts: 2, error: { class: "connection", message: "refused" } },
    { index: 2, status: "failed", attempts: 1, earlier: [] },
  ]);
});

test("what the records do not hold is asked for each run", () => {
  const set = [{ nodeId: "3", input: "steps", value: 20 }];
  const [run] = comparedRuns([record(4)], {
    setOf: (index) => (index === 4 ? set : []),
    lossOf: ({ index }) => (index === 4 ? 2 : 0),
  });
  expect(run).toMatchObject({ set, loss: 2 });
});
