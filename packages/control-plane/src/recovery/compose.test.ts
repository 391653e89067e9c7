import { describe, expect, test } from "vitest";
import { BUILT_IN_GRAPH } from "./built-in-graph.ts";
import { composeGraph } from "./compose.ts";

describe("a parameter", () => {
  test("that is null is left as the graph has it", () => {
    const composed = composeGraph(BUILT_IN_GRAPH, null, { width: null });
    expect(composed).toEqual({ graph: BUILT_IN_GRAPH, warnings: [] });
  });
});

test("as many warnings are told as anybody reads", () => {
  const many = Object.fromEntries(
    Array.from({ length: 90 }, (_, n) => [`${n}.${"x".repeat(300)}`, n]),
  );
  const { warnings } = composeGraph(BUILT_IN_GRAPH, null, many);
  expect(warnings).toHaveLength(50);
  expect(warnings[0]?.startsWith(`0.${"x".repeat(98)}: `)).toBe(true);
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
