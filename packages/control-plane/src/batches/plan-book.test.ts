import type { CreateBatch, NewPage } from "@holdfast/contract";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { applyOverrides } from "../jobs/overrides.ts";
import { planBook } from "./plan-book.ts";
import {
  csv,
  FACTS,
  GRAPH,
  graphWith,
  list,
  refusal,
  TEMPLATE,
} from "../../testing/planning-kit.ts";

describe("a book is refused", () => {
  const link = { "3": { model: ["77", 0] } };
  test.each<[string, CreateBatch, RegExp]>([
    ["without pages and table", { graph: GRAPH }, /expected pages .* or a table.*neither/],
    ["with both", { ...csv("a\n1"), pages: [{}] }, /found both/],
    ["without a page", list(), /pages is empty/],
    ["with a table and no graph", { table: { csv: "a\n1" } }, /expected a graph beside the table/],
    [
      "without a graph for pages",
      { pages: [{ graph: GRAPH }, {}, { page: 8 }] },
      /pages 2, 8: no graph/,
    ],
    ["with a bind and no table", { ...list({}), bind: { a: "3.seed" } }, /bind is for the columns/],
    [
      "with numbers twice",
      list({ page: 2 }, {}, { page: 2 }),
      /twice: 2 \(pages\[0\] and pages\[1\]\)/,
    ],
    ["whose graph is none", { graph: {}, pages: [{}] }, /^graph_empty/],
    [
      "whose graph has a loose link",
      { graph: graphWith(link), pages: [{}] },
      /^graph_dangling_link/,
    ],
    [
      "whose set fits nothing",
      { ...list({}), set: { "9.x": 1 } },
      /^override_unmatched: set: node 9/,
    ],
    [
      "whose set misses a variable",
      { graph: TEMPLATE, pages: [{}], set: { stile: 1 } },
      /did you mean style\?/,
    ],
    [
      "with text that cannot be stored",
      list({ set: { "6.text": "\uD800" } }),
      /page 1: set holds a NUL/,
    ],
    ["with such a graph", list({ graph: { a: "\0" } }), /page 1: graph holds a NUL/],
    ["with such a name", list({ name: "\0" }), /page 1: name holds a NUL/],
    ["with such metadata", { ...list({}), metadata: { a: "\0" } }, /metadata holds a NUL/],
    [
      "with large metadata",
      list({ metadata: { a: "x".repeat(20_000) } }),
      /page 1: metadata has 20\d+ bytes/,
    ],
    [
      "with too many pages",
      list(...Array.from({ length: 10_001 }, () => ({}))),
      /at most 10000 pages/,
    ],
  ])("%s", (_, request, message) => {
    expect(refusal(request)).toMatch(message);
  });

  test("whose node classes the caller may not use", () => {
    expect(planBook(list({}), { ...FACTS, allowedClasses: ["SaveImage"] })).toMatchObject({
      kind: "refused",
      code: "node_class_forbidden",
    });
  });

  test("whose values would not fit into the memory of a server", () => {
    const graph = graphWith({ "6": { text: "{{a}} ".repeat(2_000) } });
    expect(refusal({ graph, table: { rows: [{ a: "x".repeat(20_000) }] } })).toMatch(
      /row 1: its values may come to more than 16777216 characters/,
    );
    const bind = { a: ["6.text", "7.text", "9.filename_prefix"] };
    const long = "x".repeat(10_000);
    const many = Array.from({ length: 5_000 }, () => ({ a: long }));
    expect(refusal({ graph: GRAPH, table: { rows: many }, bind })).toMatch(
      /all pages come to more than \d+ characters/,
    );
  });

  test("where the name of a variable's place means another input", () => {
    const graph = {
      ...GRAPH,
      a: { class_type: "A", inputs: { "b.c": "{{x}}" } },
      "a.b": { class_type: "A", inputs: { c: 1 } },
    };
    expect(refusal({ graph, pages: [{ set: { x: 1 } }] })).toMatch(/a\.b\.c has a place/);
  });
});

test("whatever is asked for, a book is planned whole or refused in words, and what is planned fits", () => {
  const name = fc.constantFrom("x", "y", "x", "y", "1.a", "2.b.c", "__proto__", "page", "9.z");
  const value = fc.oneof(
    { weight: 40, arbitrary: fc.constantFrom<unknown>("b", 7, "7", true) },
    fc.constantFrom<unknown>("{{x}}", "a {{y}} b", "{{ __proto__ }}{{x}}", "7", "", null, true, 7),
    fc.constant(["1", 0]),
    fc.constant(["9", 0]),
    fc.constant({ deep: ["{{x}}"] }),
    fc.string({ unit: "binary", maxLength: 5 }),
  );
  const set = fc
    .tuple(fc.dictionary(name, value, { maxKeys: 3 }), fc.boolean())
    .map(([some, hasAll]) => (hasAll ? { x: 1, y: "b", ...some } : some));
  const inputs = fc.dictionary(fc.constantFrom("b", "b.c", "seed", "text"), value);
  const graph = fc.tuple(inputs, inputs).map(([one, two]) => ({
    "1": { class_type: "KSampler", inputs: { a: "{{x}}", ...one } },
    "2": { class_type: "SaveImage", inputs: two },
    "2.b": { class_type: "Note", inputs: { c: 1 } },
  }));
  const page = fc.record<NewPage>(
    { page: fc.integer({ min: 1, max: 60 }), graph, set, prompt: fc.string(), seed: fc.nat() },
    { requiredKeys: [] },
  );
  const cell = fc.constantFrom("", "7", "a b", '"q"', "x;y");
  const csvText = fc
    .tuple(
      fc.array(name, { minLength: 1, maxLength: 3 }),
      fc.array(fc.array(cell, { maxLength: 3 })),
    )
    .map(([head, lines]) => [head, ...lines].map((line) => line.join(",")).join("\n"));
  const table = fc.oneof(
    fc.record({ rows: fc.array(set, { maxLength: 4 }) }),
    fc.record({ csv: fc.oneof(csvText, fc.string()) }),
  );
  const bind = fc.option(fc.dictionary(name, name, { maxKeys: 1 }), { nil: undefined });
  const request: fc.Arbitrary<CreateBatch> = fc.oneof(
    fc.record({ graph, pages: fc.array(page, { minLength: 1, maxLength: 4 }) }),
    fc.record({ graph, set, pages: fc.array(page, { maxLength: 4 }) }),
    fc.record({ graph, table }),
    fc.record({ graph, set, table, bind }).map(({ bind: given, ...rest }) => ({
      ...rest,
      ...(given !== undefined && { bind: given }),
    })),
  );
  let planningCount = 0;
  fc.assert(
    fc.property(request, (given) => {
      const plan = planBook(given, FACTS);
      if (plan.kind === "refused") {
        expect(plan.message).not.toBe("");
        return;
      }
      planningCount += 1;
      const { pages, graphs } = plan.book;
      const numbers = pages.map(({ page: number }) => number);
      expect(numbers).toEqual([...new Set(numbers)].toSorted((a, b) => a - b));
      for (const { graphNo, set: values, trouble } of pages) {
        expect(JSON.stringify(values)).not.toContain("\\u0000");
        if (trouble !== null) continue;
        expect(applyOverrides(graphs[graphNo] as never, values).kind).toBe("applied");
      }
    }),
    { numRuns: 2_000 },
  );
  // Not all of them are refused.
  expect(planningCount).toBeGreaterThan(50);
});
