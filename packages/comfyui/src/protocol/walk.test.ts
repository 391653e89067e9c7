import * as fc from "fast-check";
import { expect, test } from "vitest";
import { arbitraryGraph } from "../../testing/arbitrary-graph.ts";
import { parseGraph } from "./parse.ts";
import { freshNodeId, insertNodeAfter, renameNodes, rewireOutput, setInput } from "./rewire.ts";
import {
  ancestorsOf,
  chainLength,
  dependentsOf,
  findCycle,
  links,
  pruneTo,
  topologicalOrder,
} from "./walk.ts";

const node = (inputs: Record<string, unknown> = {}) => ({ class_type: "N", inputs });

test("every source comes before what it feeds, and every node comes once", () => {
  fc.assert(
    fc.property(arbitraryGraph, (graph) => {
      const order = topologicalOrder(graph);
      expect([...order].sort()).toEqual(Object.keys(graph).sort());
      for (const { fromId, toId } of links(graph)) {
        expect(order.indexOf(fromId)).toBeLessThan(order.indexOf(toId));
      }
      expect(findCycle(graph)).toBeUndefined();
      expect(chainLength(graph)).toBeLessThanOrEqual(order.length);
    }),
  );
});

test("ancestors and dependents are two views of one relation", () => {
  fc.assert(
    fc.property(arbitraryGraph, (graph) => {
      for (const a of Object.keys(graph)) {
        for (const b of ancestorsOf(graph, a)) expect(dependentsOf(graph, b)).toContain(a);
        expect(ancestorsOf(graph, a)).not.toContain(a);
      }
    }),
  );
});

test("a closing link makes a cycle that is found on it", () => {
  fc.assert(
    fc.property(arbitraryGraph, (graph) => {
      const order = topologicalOrder(graph);
      const first = order[0] ?? "";
      const reached = [first, ...dependentsOf(graph, first)];
      const last = reached.at(-1) ?? "";
      const cycle = findCycle(setInput(graph, first, "back", [last, 0])) ?? [];
      expect(cycle.length).toBeGreaterThan(0);
      for (const id of cycle) expect(reached).toContain(id);
    }),
  );
});

test("pruning keeps the outputs and what they need, and nothing else", () => {
  const graph = {
    "1": node(),
    "2": node({ a: ["1", 0] }),
    "3": node(),
    "4": node({ a: ["3", 0] }),
  };
  expect(Object.keys(pruneTo(graph, ["2", "gone"]))).toEqual(["1", "2"]);
  fc.assert(
    fc.property(arbitraryGraph, (graph) => {
      const id = Object.keys(graph)[0] ?? "";
      const pruned = pruneTo(graph, [id]);
      expect(new Set(Object.keys(pruned))).toEqual(new Set([id, ...ancestorsOf(graph, id)]));
      expect(parseGraph(pruned).kind).toBe("graph");
    }),
  );
});

test("renaming there and back changes nothing, and keeps links whole", () => {
  fc.assert(
    fc.property(arbitraryGraph, (graph) => {
      const renamed = renameNodes(graph, (id) => `sub/${id}`);
      expect(parseGraph(renamed).kind).toBe("graph");
      expect(renameNodes(renamed, (id) => id.slice(4))).toEqual(graph);
    }),
  );
  expect(() => renameNodes({ a: node(), b: node() }, () => "same")).toThrow("same id");
});

test("a node put behind an output takes over its consumers and may itself consume it", () => {
  const graph = {
    "1": node(),
    "2": node({ a: ["1", 0], b: ["1", 1] }),
    "3": node({ a: ["1", 0] }),
  };
  const result = insertNodeAfter(graph, ["1", 0], "9", node({ x: ["1", 0] }), 2);
  expect(result["2"]?.inputs).toEqual({ a: ["9", 2], b: ["1", 1] });
  expect(result["3"]?.inputs).toEqual({ a: ["9", 2] });
  expect(result["9"]?.inputs).toEqual({ x: ["1", 0] });
  expect(graph["2"].inputs.a).toEqual(["1", 0]);
  expect(() => insertNodeAfter(graph, ["1", 0], "2", node())).toThrow("taken");
});

test("rewiring leaves out the nodes it is told to", () => {
  const graph = { "1": node(), "2": node({ a: ["1", 0] }), "3": node({ a: ["1", 0] }) };
  const result = rewireOutput(graph, ["1", 0], ["8", 1], new Set(["3"]));
  expect(result["2"]?.inputs).toEqual({ a: ["8", 1] });
  expect(result["3"]?.inputs).toEqual({ a: ["1", 0] });
});

test("fresh ids are free", () => {
  expect(freshNodeId({})).toBe("1");
  expect(freshNodeId({ "7": node(), "12:3": node(), x: node() })).toBe("8");
  expect(freshNodeId({ hf_1: node() }, "hf_")).toBe("hf_2");
  fc.assert(
    fc.property(arbitraryGraph, (graph) => {
      expect(Object.keys(graph)).not.toContain(freshNodeId(graph));
      expect(Object.keys(graph)).not.toContain(freshNodeId(graph, "n"));
    }),
  );
});
