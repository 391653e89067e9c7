import { expect, test } from "vitest";
import { findInput } from "./find-input.ts";
import type { Graph } from "./graph.ts";

const graph: Graph = {
  "3": { class_type: "A", inputs: { seed: 1, "b.seed": 2, "model.width": 8 } },
  "3.b": { class_type: "B", inputs: { seed: 3, model: ["3", 0] } },
};

test("an input is found by its name, and with dots in it at the last one that fits", () => {
  expect(findInput(graph, "3.seed")).toEqual({ nodeId: "3", input: "seed" });
  expect(findInput(graph, "3.model.width")).toEqual({ nodeId: "3", input: "model.width" });
  expect(findInput(graph, "3.b.model")).toEqual({ nodeId: "3.b", input: "model" });
  expect(findInput(graph, "3.b.seed")).toEqual({ nodeId: "3.b", input: "seed" });
});

test("what a graph does not have is not found, nor what every object has", () => {
  for (const name of ["", "seed", ".seed", "3.", "9.seed", "3.constructor", "constructor.name"]) {
    expect(findInput(graph, name), name).toBeUndefined();
  }
});
