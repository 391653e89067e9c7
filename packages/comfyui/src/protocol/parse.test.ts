import * as fc from "fast-check";
import { expect, test } from "vitest";
import { arbitraryGraph } from "../../testing/arbitrary-graph.ts";
import { callsOf } from "../../testing/fixtures.ts";
import type { Graph } from "./graph.ts";
import { asTexts, member } from "./json-shape.ts";
import { DEFAULT_GRAPH_LIMITS, parseGraph, type GraphRefusal } from "./parse.ts";

const image = { class_type: "EmptyImage", inputs: { width: 64, height: 64 } };
const save = (images: unknown): unknown => ({ class_type: "SaveImage", inputs: { images } });

function refusal(value: unknown, limits = DEFAULT_GRAPH_LIMITS): GraphRefusal {
  const parsed = parseGraph(value, limits);
  if (parsed.kind !== "refused") throw new Error("expected a refusal");
  return parsed;
}

test("a graph comes back as it was, unknown keys included", () => {
  const value = {
    "1": { ...image, is_changed: ["x"], _meta: { title: "t" } },
    "2:1": save(["1", 0]),
  };
  const parsed = parseGraph(value);
  expect(parsed).toEqual({ kind: "graph", graph: value });
});

test("every graph that ComfyUI accepted in the recordings is accepted", () => {
  let count = 0;
  for (const name of [
    "happy-path",
    "partial-invalid",
    "queue-pending",
    "execution-error-oom",
    "previews-metadata",
    "interrupted",
  ]) {
    for (const step of callsOf(name, "POST", "/prompt")) {
      if (step.res?.status !== 200) continue;
      expect(parseGraph(member(step.http?.body, "prompt")).kind).toBe("graph");
      count += 1;
    }
  }
  expect(count).toBeGreaterThan(8);
});

test.each([
  [null, "graph_not_object"],
  [[], "graph_not_object"],
  ["{}", "graph_not_object"],
  [7, "graph_not_object"],
  [{}, "graph_empty"],
  [{ client_id: "x" }, "graph_no_nodes"],
  [{ "1": { inputs: {} } }, "graph_no_nodes"],
  [{ "1": image, "2": { inputs: {} } }, "graph_bad_node"],
  [{ "1": image, "2": 5 }, "graph_bad_node"],
  [{ "1": { class_type: "A" } }, "graph_bad_node"],
  [{ "1": { class_type: "A", inputs: [] } }, "graph_bad_node"],
  [{ "": image }, "graph_bad_node"],
  [{ ["x".repeat(300)]: image }, "graph_bad_node"],
  [{ "1": { class_type: "A", inputs: { a: Number.POSITIVE_INFINITY } } }, "graph_bad_node"],
  [{ "1": { class_type: "A", inputs: { a: "nul \u0000" } } }, "graph_bad_node"],
  [{ "1": { class_type: "A", inputs: { a: "half \ud83d" } } }, "graph_bad_node"],
  [{ "1": image, "2": save(["9", 0]) }, "graph_dangling_link"],
  [{ "1": image, "2": save(["constructor", 0]) }, "graph_dangling_link"],
  [{ "1": image, "2": save(["1", 4.5]) }, "graph_bad_link"],
  [{ "1": image, "2": save(["1", -1]) }, "graph_bad_link"],
  [{ "1": image, "2": save(["1", "0"]) }, "graph_bad_link"],
  [{ "1": image, "2": save([1, 0]) }, "graph_bad_link"],
  [{ "1": image, "2": save(["1"]) }, "graph_bad_link"],
  [{ "1": image, "2": save([1, "x"]) }, "graph_bad_link"],
])("%j is refused as %s", (value, code) => {
  const { code: found, message } = refusal(value);
  expect(found).toBe(code);
  expect(message.length).toBeGreaterThan(10);
});

test("lists that cannot be links stay plain values", () => {
  const inputs = {
    size: [512, 768],
    names: ["a", "b"],
    tags: ["a"],
    empty: [],
    rows: [["1", 0]],
    three: ["1", 0, 0],
  };
  expect(parseGraph({ "1": { class_type: "A", inputs } }).kind).toBe("graph");
});

test.each([
  { nodes: [], links: [], last_node_id: 1, version: 0.4 },
  { last_node_id: 3, last_link_id: 2, nodes: [{ id: 1, type: "KSampler" }] },
  { prompt: { "1": image } },
  { prompt: { "1": image }, client_id: "x" },
  { output: { "1": image }, workflow: { nodes: [], links: [] } },
  { workflow: { nodes: [] } },
  { extra_pnginfo: { workflow: {} } },
])(
  "the editor's and wrapped formats are recognised, and the message says what to export",
  (value) => {
    const { code, message } = refusal(value);
    expect(code).toBe("graph_editor_format");
    expect(message).toContain("Export (API)");
    expect(message).toContain("dev mode");
  },
);

test("a node may be called prompt, nodes or links", () => {
  const graph = { prompt: image, nodes: image, links: save(["prompt", 0]) };
  expect(parseGraph(graph).kind).toBe("graph");
});

test("__proto__ is refused wherever it stands", () => {
  const asId = JSON.parse(
    '{"1":{"class_type":"A","inputs":{}},"__proto__":{"class_type":"A","inputs":{}}}',
  );
  const inside = JSON.parse('{"1":{"class_type":"A","inputs":{"a":[{"__proto__":{"x":1}}]}}}');
  expect(refusal(asId).code).toBe("graph_bad_node");
  expect(refusal(inside).code).toBe("graph_bad_node");
  expect(Object.prototype).not.toHaveProperty("x");
});

const invert = (id: string): unknown => ({
  class_type: "ImageInvert",
  inputs: { image: [id, 0] },
});

test("a cycle is named by the ids on it, and by no others", () => {
  const graph = { "1": invert("3"), "3": invert("1"), "2": save(["1", 0]), "4": invert("2") };
  const { code, details } = refusal(graph);
  expect(code).toBe("graph_cyclic");
  expect([...asTexts(details?.["nodeIds"])].sort()).toEqual(["1", "3"]);
  expect(refusal({ a: invert("a") }).details?.["nodeIds"]).toEqual(["a"]);
});

function chain(length: number): Record<string, unknown> {
  const graph: Record<string, unknown> = { n0: image };
  for (let i = 1; i < length; i += 1) {
    graph[`n${i}`] = { class_type: "I", inputs: { image: [`n${i - 1}`, 0] } };
  }
  return graph;
}

test("a chain that would end ComfyUI's worker is refused, a long one that runs is not", () => {
  expect(parseGraph(chain(900)).kind).toBe("graph");
  expect(refusal(chain(961)).code).toBe("graph_too_deep");
});

test("a chain of 100,000 nodes is judged without overflowing the stack", () => {
  const wide = { ...DEFAULT_GRAPH_LIMITS, maxNodes: 1e6, maxBytes: 1e9 };
  expect(refusal(chain(100_000), wide).code).toBe("graph_too_deep");
  const ring = chain(100_000);
  ring["n0"] = { class_type: "I", inputs: { image: ["n99999", 0] } };
  expect(refusal(ring, wide).code).toBe("graph_cyclic");
}, 60_000);

test("values nested 500,000 deep are refused without overflowing the stack", () => {
  const deep: unknown = JSON.parse(`${"[".repeat(500_000)}${"]".repeat(500_000)}`);
  expect(refusal({ "1": { class_type: "A", inputs: { deep } } }).code).toBe("graph_too_deep");
});

const withInputs = (inputs: unknown): unknown => ({ "1": { class_type: "A", inputs } });

test("limits on nodes, bytes, inputs and depth are exact", () => {
  const limits = {
    ...DEFAULT_GRAPH_LIMITS,
    maxNodes: 3,
    maxChainLength: 3,
    maxInputsPerNode: 2,
    maxValueDepth: 2,
  };
  expect(parseGraph(chain(3), limits).kind).toBe("graph");
  expect(refusal(chain(4), limits).code).toBe("graph_too_large");
  expect(refusal(chain(4), { ...limits, maxNodes: 9 }).code).toBe("graph_too_deep");
  expect(parseGraph(withInputs({ a: 1, b: 1 }), limits).kind).toBe("graph");
  expect(refusal(withInputs({ a: 1, b: 1, c: 1 }), limits).code).toBe("graph_bad_node");
  expect(parseGraph(withInputs({ a: [[1]] }), limits).kind).toBe("graph");
  expect(refusal(withInputs({ a: [[[1]]] }), limits).code).toBe("graph_too_deep");
  const large = withInputs({ a: "€".repeat(1000) });
  expect(refusal(large, { ...limits, maxBytes: 3000 }).code).toBe("graph_too_large");
  expect(parseGraph(large, { ...limits, maxBytes: 3200 }).kind).toBe("graph");
});

test("whatever the value, the answer is a graph or a refusal with a message", () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
      const parsed = parseGraph(value);
      expect(parsed.kind === "graph" || parsed.message.length > 0).toBe(true);
    }),
  );
});

test("acyclic graphs without dangling links are accepted", () => {
  fc.assert(
    fc.property(arbitraryGraph, (graph: Graph) => {
      expect(parseGraph(graph)).toEqual({ kind: "graph", graph });
    }),
  );
});
