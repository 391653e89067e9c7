import { createFakeClock } from "@holdfast/runtime/testing";
import { expect, test } from "vitest";
import type { ProbeOutcome } from "./check-decision.ts";
import { createHttpCheck } from "./http-check.ts";

const setUp = (over: { graceMs?: number; everyMs?: number; tookMs?: number } = {}) => {
  const clock = createFakeClock();
  const looks: number[] = [];
  const state = { outcome: { kind: "passed", detail: "HTTP 200" } as ProbeOutcome, changes: 0 };
  const check = createHttpCheck({
    url: "http://127.0.0.1:1/",
    timeoutMs: 5_000,
    everyMs: over.everyMs ?? 15_000,
    failures: 2,
    graceMs: over.graceMs ?? 0,
    clock,
    probe: async (_target, signal) => {
      looks.push(clock.elapsed());
      const { outcome } = state; // As it is when it is asked.
      await clock.sleep(over.tookMs ?? 0, signal).catch(() => undefined);
      return outcome;
    },
    onChange: () => void (state.changes += 1),
  });
  return { clock, looks, state, check };
};
const failed: ProbeOutcome = { kind: "failed", detail: "refused" };

test("it looks at its pace, tells changes alone, and looks no more once stopped", async () => {
  const { clock, looks, state, check } = setUp();
  expect(check.status().state).toBe("pending");
  await check.start();
  await check.start(); // Twice is once.
  await clock.advance(45_000);
  expect(looks).toEqual([0, 15_000, 30_000, 45_000]);
  expect(check.status()).toMatchObject({ state: "passing", detail: "HTTP 200" });
  expect(state.changes).toBe(1);
  state.outcome = failed;
  await clock.advance(15_000);
  expect(check.status().state).toBe("passing");
  await clock.advance(15_000);
  expect(check.status()).toMatchObject({
    state: "failing",
    detail: "refused (2 times in a row)",
    checkedAt: clock.now(),
  });
  await check.stop();
  await clock.advance(60_000);
  expect(looks).toHaveLength(6);
  expect(clock.sleeperCount()).toBe(0);
});

test("until its first pass it looks every second", async () => {
  const { clock, looks, state, check } = setUp({ graceMs: 60_000 });
  state.outcome = failed;
  await check.start();
  await clock.advance(4_500);
  expect(looks).toEqual([0, 1_000, 2_000, 3_000, 4_000]);
  expect(check.status().state).toBe("pending");
  state.outcome = { kind: "passed", detail: "HTTP 200" };
  await clock.advance(500);
  expect(check.status().state).toBe("passing");
  await clock.advance(14_000);
  expect(looks).toHaveLength(6);
  await check.stop();
});

test("a reset forgets, looks at once, and begins a new grace", async () => {
  const { clock, looks, state, check } = setUp({ graceMs: 3_000 });
  state.outcome = failed;
  await check.start();
  await clock.advance(5_000);
  expect(check.status().state).toBe("failing");
  const before = looks.length;
  check.reset();
  expect(check.status()).toEqual({ state: "pending", detail: null, checkedAt: null });
  await clock.advance(0);
  expect(looks).toHaveLength(before + 1);
  await clock.advance(2_000);
  expect(check.status().state).toBe("pending");
  await check.stop();
});

test("what a look finds of the process before a reset does not count", async () => {
  const { clock, state, check } = setUp({ tookMs: 1_000 });
  await check.start();
  await clock.advance(500); // A look is under way, and will pass.
  check.reset();
  state.outcome = failed;
  await clock.advance(600);
  expect(check.status().state).toBe("pending");
  await clock.advance(1_000);
  expect(check.status().detail).toBe("refused (once)");
  await check.stop();
});

test("stopping cuts a look that is under way short, and what it says is not taken", async () => {
  const { clock, check } = setUp({ tookMs: 1_000_000 });
  await check.start();
  await clock.advance(10);
  await check.stop();
  expect(check.status().state).toBe("pending");
  expect(clock.sleeperCount()).toBe(0);
});
