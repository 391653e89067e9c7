import type { CreateBatch } from "@holdfast/contract";
import { describe, expect, test } from "vitest";
import {
  GRAPH,
  graphWith,
  list,
  planned,
  refusal,
  sets,
  TEMPLATE,
} from "../../testing/planning-kit.ts";

describe("a list of pages", () => {
  test("puts the book's set, the page's own, prompt and seed in their places", () => {
    const request: CreateBatch = {
      ...list(
        { prompt: "sea", seed: 7, name: "one", metadata: { a: 1 } },
        { set: { "3.cfg": 3, "6.text": "x" }, page: 9 },
      ),
      set: { "3.cfg": 2, "3.steps": 9 },
    };
    expect(planned(request).pages).toEqual([
      {
        page: 1,
        name: "one",
        graphNo: 0,
        set: { "3.cfg": 2, "3.steps": 9, "6.text": "sea", "3.seed": 7 },
        variables: new Map(),
        metadata: { a: 1 },
        trouble: null,
      },
      {
        page: 9,
        name: null,
        graphNo: 0,
        set: { "3.cfg": 3, "3.steps": 9, "6.text": "x" },
        variables: new Map(),
        metadata: {},
        trouble: null,
      },
    ]);
  });

  test("prompt and seed are the marks of their names; other variables are given by set", () => {
    const graph = graphWith({
      "3": { seed: "{{ seed }}" },
      "7": { text: "{{prompt}}, {{style}}" },
    });
    const pages = [{ prompt: "sea", seed: 3, set: { style: "oil" } }];
    expect(sets({ graph, pages })).toEqual([{ "3.seed": 3, "7.text": "sea, oil" }]);
    expect(refusal({ graph, pages: [{ prompt: "sea", seed: 3 }] })).toMatch(
      /page 1: no value for \{\{style\}\} of 7\.text; set gives it one/,
    );
  });

  test("an input that is set whole needs no value for its variables", () => {
    expect(
      sets({ graph: TEMPLATE, pages: [{ seed: 1, set: { "6.text": "all {{new}}" } }] }),
    ).toEqual([{ "3.seed": 1, "6.text": "all {{new}}" }]);
  });

  test("a prompt goes before a value for the input in which its mark stands", () => {
    const graph = graphWith({ "7": { text: "no {{prompt}}" } });
    const set = { "7.text": "x", "6.text": "y" };
    expect(sets({ graph, pages: [{ set, prompt: "sea" }, { set }] })).toEqual([
      { "7.text": "no sea", "6.text": "y" },
      set,
    ]);
  });

  test("prompt and seed without a place are warned of, once for all pages", () => {
    const graph = {
      "1": { class_type: "LoadImage", inputs: { image: "a.png" } },
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "x" } },
    };
    const pages = Array.from({ length: 7 }, (_, seed) => ({ prompt: "sea", seed }));
    expect(planned({ graph, pages }).warnings).toEqual([
      expect.stringMatching(
        /^pages 1, 2, 3, 4, 5, … \(7 in all\): prompt: the graph has no \{\{prompt\}\}/,
      ),
      expect.stringMatching(/^pages 1, 2, .*: seed: the graph has no/),
    ]);
  });

  test("keeps each graph once, and the books' pages in order", () => {
    const other = graphWith({ "3": { steps: 5 } });
    const pages = [{ graph: other, page: 3 }, { graph: structuredClone(other), page: 1 }, {}];
    const book = planned(list(...pages.map((page, i) => (i === 2 ? { page: 2 } : page))));
    expect(book.graphs).toEqual([other, GRAPH]);
    expect(book.pages.map(({ page, graphNo }) => [page, graphNo])).toEqual([
      [1, 0],
      [2, 1],
      [3, 0],
    ]);
  });

  test("keeps no graph that none of its pages is made of", () => {
    const other = graphWith({ "3": { steps: 5 } });
    const book = planned(list({ graph: other }, { graph: other }));
    expect(book.graphs).toEqual([other]);
    expect(book.pages.map(({ graphNo }) => graphNo)).toEqual([0, 0]);
  });

  test("a page whose own graph is refused, or that an override does not fit, is trouble of its own", () => {
    const book = planned({
      ...list(
        { graph: { nodes: [], links: [] }, set: { "3.seed": 1 } },
        { set: { "99.seed": 1, "3.steps": 4 } },
        { set: { "3.model": ["77", 0] } },
        { graph: { "1": { class_type: "A", inputs: {} } } },
        {},
      ),
      set: { "3.cfg": 2 },
    });
    expect(book.pages.map(({ trouble }) => trouble?.code ?? null)).toEqual([
      "graph_editor_format",
      "override_unmatched",
      "graph_dangling_link",
      "override_unmatched",
      null,
    ]);
    expect(book.pages[0]?.set).toEqual({ "3.cfg": 2, "3.seed": 1 });
    expect(book.pages[1]?.set).toEqual({ "3.cfg": 2, "3.steps": 4, "99.seed": 1 });
    expect(book.pages[1]?.trouble?.message).toMatch(/set: the graph has no node "99"/);
  });
});
