import type { Graph } from "@holdfast/comfyui/protocol";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { applyOverrides } from "./overrides.ts";

const GRAPH: Graph = {
  "3": { class_type: "KSampler", inputs: { seed: 1, "model.width": 8 } },
  "12:3": { class_type: "KSampler", inputs: { seed: 2 } },
  "a.b": { class_type: "KSampler", inputs: { seed: 3, model: ["3", 0] } },
};

function inputsOf(overrides: Record<string, unknown>): unknown {
  const applied = applyOverrides(GRAPH, overrides);
  return applied.kind === "applied"
    ? Object.fromEntries(Object.entries(applied.graph).map(([id, node]) => [id, node.inputs]))
    : applied;
}

describe("overrides", () => {
  test("ids with colons and dots, and inputs with dots, are found", () => {
    expect(
      inputsOf({ "3.seed": 10, "12:3.seed": 20, "a.b.seed": 30, "3.model.width": 64 }),
    ).toEqual({
      "3": { seed: 10, "model.width": 64 },
      "12:3": { seed: 20 },
      "a.b": { seed: 30, model: ["3", 0] },
    });
  });

  test("a link may be replaced, and the graph given is left as it was", () => {
    const before = structuredClone(GRAPH);
    expect(inputsOf({ "a.b.model": "x" })).toMatchObject({ "a.b": { model: "x" } });
    expect(GRAPH).toEqual(before);
  });

  test.each([
    ["9.seed", /no node "9".*3, 12:3, a\.b/],
    ["3.steps", /node 3 \(KSampler\) has no input "steps".*seed, model\.width/],
    ["seed", /not of the form node\.input/],
    [".seed", /not of the form/],
    ["3.", /has no input ""/],
    ["3.constructor", /no input "constructor"/],
    ["constructor.name", /no node "constructor"/],
  ])("%s fits nothing, and the answer tells what there is", (name, reason) => {
    const applied = applyOverrides(GRAPH, { "3.seed": 1, [name]: 1 });
    expect(applied).toMatchObject({ kind: "unmatched", name });
    expect(applied.kind === "unmatched" && applied.reason).toMatch(reason);
  });

  test("long lists of names are cut short, an empty one says so", () => {
    const many = Object.fromEntries(
      Array.from({ length: 30 }, (_, index) => [`n${index}`, { class_type: "A", inputs: {} }]),
    );
    expect(applyOverrides(many, { "x.y": 1 })).toMatchObject({
      reason: expect.stringContaining("n9, … (30)"),
    });
    expect(applyOverrides(many, { "n1.y": 1 })).toMatchObject({
      reason: expect.stringContaining("its inputs are none"),
    });
  });

  test("every input of every node can be named and set, nothing else changes", () => {
    const word = fc.stringMatching(/^[a-z0-9:.]{1,6}$/);
    fc.assert(
      fc.property(
        fc.dictionary(word, fc.dictionary(word, fc.integer(), { minKeys: 1, maxKeys: 3 }), {
          minKeys: 1,
          maxKeys: 4,
        }),
        fc.nat(),
        fc.nat(),
        (nodes, nodePick, inputPick) => {
          const graph: Graph = Object.fromEntries(
            Object.entries(nodes).map(([id, inputs]) => [id, { class_type: "A", inputs }]),
          );
          const ids = Object.keys(graph);
          const id = ids[nodePick % ids.length] ?? "";
          const inputs = Object.keys(graph[id]?.inputs ?? {});
          const input = inputs[inputPick % inputs.length] ?? "";
          const places = Object.entries(graph).flatMap(([nodeId, node]) =>
            Object.keys(node.inputs).map((name) => `${nodeId}.${name}`),
          );
          // Two places may have one name ("a.b" and "c", "a" and "b.c"): then either may be meant.
          fc.pre(places.filter((place) => place === `${id}.${input}`).length === 1);
          const applied = applyOverrides(graph, { [`${id}.${input}`]: "set" });
          expect(applied.kind).toBe("applied");
          if (applied.kind !== "applied") return;
          const changed = Object.entries(applied.graph).flatMap(([nodeId, node]) =>
            Object.entries(node.inputs).flatMap(([name, value]) =>
              value === "set" ? [`${nodeId}.${name}`] : [],
            ),
          );
          expect(changed).toEqual([`${id}.${input}`]);
        },
      ),
    );
  });
});
