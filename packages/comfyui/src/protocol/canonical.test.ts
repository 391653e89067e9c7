import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { arbitraryGraph } from "../../testing/arbitrary-graph.ts";
import { canonicalJson, hashGraph } from "./canonical.ts";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

function shuffleKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffleKeys);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, item]) => [key, shuffleKeys(item)]),
  );
}

test("the order of keys does not change the text, and the text parses back", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = canonicalJson(value);
      expect(canonicalJson(shuffleKeys(value))).toBe(text);
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});

test("keys are in code-unit order, numbers as JavaScript writes them", () => {
  expect(canonicalJson({ b: 1.0, a: [-0, 1e21, "é"], "10": null, "9": true, u: undefined })).toBe(
    '{"10":null,"9":true,"a":[0,1e+21,"é"],"b":1}',
  );
});

test("titles do not change a graph's hash, anything else does", () => {
  fc.assert(
    fc.property(arbitraryGraph, (graph) => {
      const retitled = Object.fromEntries(
        Object.entries(graph).map(([id, node]) => [id, { ...node, _meta: { title: "other" } }]),
      );
      expect(hashGraph(retitled, sha256)).toBe(hashGraph(graph, sha256));
      const id = Object.keys(graph)[0] ?? "";
      const changed = { ...graph, [id]: { class_type: "Changed", inputs: {} } };
      expect(hashGraph(changed, sha256)).not.toBe(hashGraph(graph, sha256));
    }),
  );
});
