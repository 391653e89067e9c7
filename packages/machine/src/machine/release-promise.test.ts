import type { Inventory } from "@holdfast/contract";
import { expect, test } from "vitest";
import { release } from "../../testing/instance-facts.ts";
import { promiseOf } from "./release-promise.ts";

const inventory = (
  nodeClasses: readonly string[],
  models: Readonly<Record<string, readonly string[]>> = {},
): Inventory => ({ nodeClasses, models }) as unknown as Inventory;
const promised = release("r1", {
  nodeClasses: ["KSampler", "Upscale"],
  models: [
    { folder: "checkpoints", name: "a.safetensors" },
    { folder: "odd", name: "b.bin" },
  ],
});
const lacks = (of: Inventory, from: Parameters<typeof promiseOf>[0] = () => promised) =>
  promiseOf(from)(of);

test("an instance with all that was promised lacks nothing", () => {
  const models = { checkpoints: ["a.safetensors", "more"], odd: ["b.bin"] };
  expect(lacks(inventory(["KSampler", "Upscale", "More"], models))).toBeNull();
});

test("classes and models that are missing are named", () => {
  expect(lacks(inventory(["KSampler"], { checkpoints: [], odd: ["b.bin"] }))).toBe(
    "the manifest promises what it lacks: node Upscale; model checkpoints/a.safetensors",
  );
});

test("of a folder that the instance tells nothing of, nothing is missing", () => {
  expect(lacks(inventory(["KSampler", "Upscale"], { checkpoints: ["a.safetensors"] }))).toBeNull();
});

test("many are counted, not listed", () => {
  const nodeClasses = Array.from({ length: 8 }, (_, at) => `Node${at}`);
  expect(lacks(inventory([]), () => release("r1", { nodeClasses }))).toBe(
    "the manifest promises what it lacks: node Node0, Node1, Node2, Node3, Node4 and 3 more",
  );
});

test("without a release nothing was promised", () => {
  expect(lacks(inventory([]), () => null)).toBeNull();
});
