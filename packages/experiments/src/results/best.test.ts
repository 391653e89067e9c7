import { describe, expect, test } from "vitest";
import { bestRuns } from "./best.ts";
import type { ResultRecord } from "./record.ts";

const AT = "2026-01-02T03:04:05.678Z";
const record = (
  index: number,
  metrics: Record<string, number>,
  over: Partial<ResultRecord> = {},
): ResultRecord => ({
  index,
  name: `exp_000${index}`,
  title: "castle",
  attempt: 1,
  promptId: null,
  seed: 1,
  values: {},
  status: "completed",
  startedAt: AT,
  endedAt: AT,
  durationMs: 10_000 - index,
  error: null,
  recovery: [],
  outputs: [],
  metrics,
  ...over,
});
const failed = {
  status: "failed" as const,
  error: { class: "oom", message: "out of memory", isInfrastructure: false },
};
const order = (records: readonly ResultRecord[], by: string, lowest: boolean): number[] => {
  const found = bestRuns(records, { by, lowest });
  return found.kind === "ranked" ? found.runs.map(({ record }) => record.index) : [];
};

describe("the best runs", () => {
  const records = [
    record(3, { rating: 5 }),
    record(0, { rating: 2 }),
    record(1, { rating: 5 }),
    record(2, {}),
    record(4, { rating: 9 }, failed),
  ];

  test("are completed ones by a metric, of equal ones the earlier first", () => {
    expect(order(records, "rating", false)).toEqual([1, 3, 0]);
    expect(order(records, "rating", true)).toEqual([0, 1, 3]);
    expect(bestRuns(records, { by: "rating", lowest: false })).toMatchObject({
      kind: "ranked",
      runs: [{ value: 5 }, { value: 5 }, { value: 2 }],
      unmeasured: 1,
    });
  });

  test("can always be found by duration, unless the records measure that otherwise", () => {
    expect(order(records, "duration_seconds", true)).toEqual([3, 2, 1, 0]);
    expect(
      order([record(0, {}), record(1, { duration_seconds: 99 })], "duration_seconds", true),
    ).toEqual([0, 1]);
  });

  test("count a run once, by the end that counts", () => {
    const twice = [
      record(0, { rating: 1 }),
      record(0, { rating: 1 }),
      record(0, { rating: 8 }, { ...failed, attempt: 2 }),
      record(1, { rating: 3 }),
    ];
    expect(order(twice, "rating", false)).toEqual([1, 0]);
  });

  test("are none without the metric, or without a completed run", () => {
    expect(bestRuns(records, { by: "constructor", lowest: true })).toEqual({
      kind: "unknown_metric",
      known: ["duration_seconds", "rating"],
    });
    expect(bestRuns([record(0, {}, failed)], { by: "rating", lowest: true })).toEqual({
      kind: "none_completed",
    });
    expect(bestRuns([], { by: "rating", lowest: true })).toEqual({ kind: "none_completed" });
  });
});
