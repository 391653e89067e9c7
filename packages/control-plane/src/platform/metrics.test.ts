import { afterEach, beforeEach, expect, it } from "vitest";
import { createMetrics, type Metrics } from "./metrics.ts";

let metrics: Metrics;
beforeEach(() => {
  metrics = createMetrics();
});
afterEach(() => metrics.stop());

it("tells the values of the metrics that are named, asked now, as they stand in the text", async () => {
  let queued = 3;
  metrics.gauge("holdfast_x", "X", ["status"], async (gauge) => {
    await Promise.resolve();
    gauge.set({ status: "queued" }, queued);
  });
  metrics.gauge("holdfast_y", "Y", [], (gauge) => gauge.set(7));
  expect(await metrics.samples(new Set(["holdfast_x", "holdfast_none"]))).toEqual([
    { metric: "holdfast_x", labels: { status: "queued" }, value: 3 },
  ]);
  queued = 4;
  expect(await metrics.samples(new Set(["holdfast_x"]))).toMatchObject([{ value: 4 }]);
});

it("tells a histogram's counts under their own names", async () => {
  metrics.onAnswer({ method: "GET", route: "/x", status: 200, seconds: 0.01 });
  expect(await metrics.samples(new Set(["holdfast_http_request_seconds_count"]))).toEqual([
    {
      metric: "holdfast_http_request_seconds_count",
      labels: { method: "GET", route: "/x", status: "2xx" },
      value: 1,
    },
  ]);
});
