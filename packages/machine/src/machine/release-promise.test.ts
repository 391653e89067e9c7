import { expect, test } from "vitest";
import { plan, release } from "../../testing/instance-facts.ts";
import { toProcessSpec } from "../instances/process-spec.ts";
import { machinePlaces } from "../machine-places.ts";
import { owedRelease, promiseOf } from "./release-promise.ts";

const digestOf = (id: string): string =>
  toProcessSpec(
    plan(),
    release(id),
    machinePlaces("/srv/m"),
    { options: null, virtualEnv: null },
    { home: "/h" },
  ).digest;
const inventory = (nodeClasses: readonly string[], models: Record<string, readonly string[]>) =>
  ({ nodeClasses, models }) as Parameters<ReturnType<typeof promiseOf>>[0];

test("a process of an earlier release owes nothing of the one that serves now", () => {
  const serving = release("new");
  expect(owedRelease(serving, digestOf("old"))).toBeNull();
  expect(owedRelease(serving, digestOf("new"))).toBe(serving);
  expect(owedRelease(serving, null)).toBe(serving);
  expect(owedRelease(null, digestOf("new"))).toBeNull();
});

test("what is promised and not there is named, and counted beyond that", () => {
  const promised = release("r1", {
    nodeClasses: ["A", "B", "C", "D", "E", "F", "G"],
    models: [
      { folder: "loras", name: "x" },
      { folder: "unknown", name: "y" },
    ],
  });
  const promise = promiseOf(() => promised);
  expect(promise(inventory(promised.nodeClasses, { loras: ["x"] }))).toBeNull();
  expect(promise(inventory(["G"], { loras: [] }))).toBe(
    "the manifest promises what it lacks: node A, B, C, D, E and 1 more; model loras/x",
  );
  expect(promiseOf(() => null)(inventory([], {}))).toBeNull();
});
