import { afterEach, expect, it } from "vitest";
import {
  createHarness,
  eventually,
  phasesOf,
  plainImage,
  textToImage,
  type Harness,
} from "../testing/harness.ts";

let harness: Harness;
afterEach(async () => {
  await harness.end();
});

it("stages short prompts deep, and gives back what is staged beyond one when one turns long", async () => {
  harness = await createHarness({
    simulator: { timeScale: 1 },
    agent: { limits: { stagedAheadMs: 400, surplusMs: 900 } },
  });
  const { plane } = harness;
  for (let color = 1; color <= 8; color += 1) {
    const lease = await plane.submit({ graph: plainImage(color) });
    await plane.reported(lease.attemptId);
  }
  const long = await plane.submit({ graph: textToImage(1, 400) });
  const staged = await Promise.all(
    [11, 12, 13].map((color) => plane.submit({ graph: plainImage(color) })),
  );
  await eventually(() => phasesOf(harness).join() === "running,staged,staged,staged");
  const [first, second, third] = staged.map((lease) => lease.attemptId);
  expect((await plane.reported(second ?? "")).outcome).toEqual({
    kind: "released",
    reason: "surplus",
  });
  expect((await plane.reported(third ?? "")).outcome.kind).toBe("released");
  await eventually(() => phasesOf(harness).join() === "running,staged");
  // Nothing more is wanted behind the long one, though every prompt before it was short.
  const held = harness
    .agent()
    .status()
    .instances[0]?.held.map((attempt) => attempt.attemptId);
  expect(held).toEqual([long.attemptId, first]);
  await plane.until(() => plane.polls.at(-1)?.instances[0]?.wants === 0);
}, 20_000);

it("tells within about a second that an attempt runs, long before its lease must be renewed", async () => {
  harness = await createHarness({
    simulator: { timeScale: 1 },
    ttlMs: 120_000,
    renewEveryMs: 60_000,
  });
  const { plane } = harness;
  await plane.submit({ graph: textToImage(1, 400) });
  await plane.until(() => plane.counts.renews > 0);
  expect(plane.held()[0]?.phase).toBe("running");
}, 20_000);
