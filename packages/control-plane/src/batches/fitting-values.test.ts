import { expect, it } from "vitest";
import { fittingValues } from "./fitting-values.ts";

const graph = { "2": { class_type: "KSampler", inputs: { seed: 1, "a.b": 2 } } };

it("values without a place are left out, the others stay as they are", () => {
  const set = { "2.seed": 7, "2.a.b": 8, "9.seed": 9, "2.steps": 10, seed: 11 };
  expect(fittingValues(graph, set)).toEqual({ "2.seed": 7, "2.a.b": 8 });
});

it("of what is no graph all values stay", () => {
  expect(fittingValues([], { "2.seed": 7 })).toEqual({ "2.seed": 7 });
});
