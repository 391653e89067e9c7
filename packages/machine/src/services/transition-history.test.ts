import { expect, test } from "vitest";
import { createTransitionHistory, TRANSITIONS_PER_SERVICE } from "./transition-history.ts";

test("a change of state is a transition, the same state again is none", () => {
  const history = createTransitionHistory();
  expect(history.note("a", "starting", "r1", 10)).toEqual({
    at: 10,
    from: null,
    to: "starting",
    reason: "r1",
  });
  expect(history.note("a", "starting", "r2", 20)).toBeNull();
  expect(history.standing("a")).toEqual({ state: "starting", since: 10 });
  expect(history.note("a", "healthy", "r3", 30)).toMatchObject({ from: "starting", to: "healthy" });
  expect(history.transitions("a")).toHaveLength(2);
  expect(history.standing("b")).toBeUndefined();
  expect(history.transitions("b")).toEqual([]);
});

test("a service found as it was before a restart has been so since then", () => {
  const restored = [
    { service: "a", at: 5, from: null, to: "healthy", reason: "r" },
    { service: "b", at: 6, from: null, to: "healthy", reason: "r" },
  ] as const;
  const history = createTransitionHistory(restored);
  expect(history.note("a", "healthy", "r", 100)).toBeNull();
  expect(history.standing("a")?.since).toBe(5);
  expect(history.note("b", "stopped", "r", 100)).toMatchObject({ from: "healthy", to: "stopped" });
});

test("the last hundred of a service are kept, and a thousand services", () => {
  const history = createTransitionHistory();
  for (let n = 0; n < 250; n += 1) history.note("a", n % 2 ? "healthy" : "stopped", "r", n);
  const kept = history.transitions("a");
  expect(kept).toHaveLength(TRANSITIONS_PER_SERVICE);
  expect(kept.at(0)?.at).toBe(150);
  expect(kept.at(-1)?.at).toBe(249);
  for (let n = 0; n < 1_000; n += 1) history.note(`s${n}`, "healthy", "r", n);
  expect(history.standing("a")).toBeUndefined();
  expect(history.standing("s0")).toBeDefined();
});
