import { describe, expect, test } from "vitest";
import { BUILT_IN_GRAPH } from "./built-in-graph.ts";
import { composeGraph, findBadParameter } from "./compose.ts";

describe("a parameter", () => {
  test.each([
    [{ width: 512, height: 1, batch_size: 4, num_inference_steps: 20, steps: 3 }],
    [{ seed: 0 }],
    [{ seed: "18446744073709551615" }],
    [{ cfg: 7.5 }],
    [{ model: "a.safetensors" }],
    [{ width: null, toString: {}, "3.seed": [], nonsense: -1 }],
  ])("of %j may do", (parameters) => {
    expect(findBadParameter(parameters)).toBeUndefined();
  });

  test.each([
    ["width", 0],
    ["width", 1.5],
    ["height", "512"],
    ["batch_size", 1e9],
    ["num_inference_steps", true],
    ["seed", -1],
    ["seed", "0x10"],
    ["seed", 1.5],
    ["cfg", "7"],
    ["cfg", -0.1],
    ["model", " "],
    ["model", "m".repeat(600)],
    ["model", {}],
  ])("%s of %j is refused by name", (name, value) => {
    const bad = findBadParameter({ seed: 1, cfg: 1, [name]: value });
    expect(bad?.name).toBe(name);
    expect(bad?.message).toContain("expected");
  });

  test("that is null is left as the graph has it", () => {
    const composed = composeGraph(BUILT_IN_GRAPH, null, { width: null });
    expect(composed).toEqual({ graph: BUILT_IN_GRAPH, warnings: [] });
  });
});

describe("a prompt", () => {
  test("goes to every mark, and a value that looks like a mark is left alone", () => {
    const graph = {
      "1": { class_type: "A", inputs: { text: "{{prompt}} {{prompt}}" } },
      "2": { class_type: "B", inputs: { text: "plain", other: 3 } },
    };
    const { graph: composed, warnings } = composeGraph(graph, "$& {{prompt}}", {
      "2.text": "{{prompt}}",
    });
    expect(warnings).toEqual([]);
    expect(composed).toMatchObject({
      "1": { inputs: { text: "$& {{prompt}} $& {{prompt}}" } },
      "2": { inputs: { text: "{{prompt}}", other: 3 } },
    });
  });

  test("without a mark goes to the positive text, and the graph given is not touched", () => {
    const before = structuredClone(BUILT_IN_GRAPH);
    const { graph } = composeGraph(BUILT_IN_GRAPH, "sea", {});
    expect(graph["6"]?.inputs["text"]).toBe("sea");
    expect(graph["7"]?.inputs["text"]).toBe("text, watermark");
    expect(BUILT_IN_GRAPH).toEqual(before);
  });
});
