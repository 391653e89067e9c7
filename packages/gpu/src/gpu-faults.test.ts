import { expect, test } from "vitest";
import { missingFaults } from "./gpu-faults.ts";
import type { SmiFailure } from "./model.ts";

const nameless = (busId: string): SmiFailure => ({ kind: "gpu_lost", index: null, busId });
const told = (...args: Parameters<typeof missingFaults>) =>
  missingFaults(...args).map(({ kind, index }) => `${kind} ${index}`);

test("the only card, and the last one, are named when they are lost without their index", () => {
  expect(told([], [nameless("0:1")], [0])).toEqual(["lost 0"]);
  expect(told([0], [nameless("0:2")], [0, 1])).toEqual(["lost 1"]);
  expect(told([0], [nameless("0:2"), nameless("0:3")], [0, 1, 2])).toEqual(["lost 1", "lost 2"]);
});

test("where it cannot be told which cards are lost, none is named", () => {
  expect(told([0], [nameless("0:2")], [0, 1, 2])).toEqual(["lost null", "missing 1", "missing 2"]);
});
