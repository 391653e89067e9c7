import type { CreateBatch } from "@holdfast/contract";
import { describe, expect, test } from "vitest";
import { graphWith, planned, type Inputs } from "../../testing/planning-kit.ts";
import { planPage, type PageChange } from "./plan-page.ts";
import type { PlannedPage } from "./planned-book.ts";

function template(text: string, more: Inputs = {}): Record<string, unknown> {
  return graphWith({ "6": { text }, "7": more });
}

function anew(graph: unknown, set: Record<string, unknown>, changes: PageChange): unknown {
  const plan = planPage({ graph, set, variables: new Map() }, changes);
  return plan.kind === "planned" ? plan.set : `${plan.code}: ${plan.message}`;
}

type Values = Pick<PlannedPage, "set" | "variables">;

/** A page as a book has it at first. */
function first(request: CreateBatch): Values {
  const [made] = planned(request).pages;
  if (made === undefined) throw new Error("a book without a page");
  return made;
}

/** Its next version. */
function next(graph: unknown, { set, variables }: Values, change: PageChange): Values {
  const plan = planPage({ graph, set, variables }, change);
  if (plan.kind === "refused") throw new Error(plan.message);
  return plan;
}

describe("a page that is made anew", () => {
  test("keeps its values but for the new ones", () => {
    const set = { "3.seed": 5, "6.text": "a cat" };
    expect(anew(template("a house"), set, {})).toEqual(set);
    expect(anew(template("a house"), set, { seed: 9, set: { "5.width": 16 } })).toEqual({
      "3.seed": 9,
      "5.width": 16,
      "6.text": "a cat",
    });
    expect(anew(template("a house"), set, { prompt: "a dog" })).toEqual({
      "3.seed": 5,
      "6.text": "a dog",
    });
  });

  test("puts a prompt beside the variables that stand in its text, however the text reads", () => {
    const graph = template("{{prompt}}, {{style}}", { title: "{{style}}" });
    const one = first({ graph, pages: [{ prompt: "a, b", set: { style: "c, d" } }] });
    expect(one.set).toEqual({ "6.text": "a, b, c, d", "7.title": "c, d" });
    const two = next(graph, one, { prompt: "a dog" });
    expect(two.set).toEqual({ "6.text": "a dog, c, d", "7.title": "c, d" });
    const three = next(graph, two, { set: { style: "ink" } });
    expect(three.set).toEqual({ "6.text": "a dog, ink", "7.title": "ink" });
  });

  test("keeps a variable's value while an input with it is given whole", () => {
    const graph = template("{{prompt}}, {{style}}", { title: "{{style}}" });
    const one = first({ graph, pages: [{ prompt: "a cat", set: { style: "oil" } }] });
    const whole = next(graph, one, { set: { "6.text": "all of it" } });
    expect(whole.set).toEqual({ "6.text": "all of it", "7.title": "oil" });
    expect(next(graph, whole, { prompt: "a dog" }).set).toEqual({
      "6.text": "a dog, oil",
      "7.title": "oil",
    });
  });

  test("keeps a table's values in the types they had", () => {
    const graph = template("{{n}} {{prompt}}", { count: "{{n}}" });
    const page = first({ graph, table: { csv: "n,prompt\n7,a cat" } });
    expect(page.set).toEqual({ "6.text": "7 a cat", "7.count": 7 });
    expect(next(graph, page, { prompt: "a dog" }).set).toEqual({
      "6.text": "7 a dog",
      "7.count": 7,
    });
  });

  test("asks for a variable that never had a value", () => {
    const graph = template("{{prompt}}, {{style}}");
    const one = first({ graph, pages: [{ set: { "6.text": "something else" } }] });
    expect(planPage({ graph, ...one }, { prompt: "a dog" })).toMatchObject({
      kind: "refused",
      message: expect.stringMatching(
        /no value for \{\{style\}\} of 6\.text, which stands there beside \{\{prompt\}\}/,
      ),
    });
    expect(next(graph, one, { set: { "6.text": "a dog" } }).set).toEqual({ "6.text": "a dog" });
  });

  test("leaves a value out that never fitted, and says so", () => {
    const set = { "99.seed": 1, "3.seed": 2 };
    expect(
      planPage({ graph: template("a house"), set, variables: new Map() }, { prompt: "sea" }),
    ).toEqual({
      kind: "planned",
      set: { "3.seed": 2, "6.text": "sea" },
      variables: new Map(),
      warnings: [expect.stringMatching(/^99\.seed: the graph has no node "99".*left out now$/)],
    });
  });

  test.each<[string, PageChange, RegExp]>([
    ["an input that is not there", { set: { "19.x": 1 } }, /^override_unmatched: .*no node "19"/],
    ["a loose link", { set: { "3.positive": ["19", 0] } }, /^graph_dangling_link: after set/],
    ["text that cannot be stored", { prompt: "\0" }, /^invalid_request: prompt holds a NUL/],
    ["such a value", { set: { "6.text": "\0" } }, /^invalid_request: set holds a NUL/],
  ])("is refused for %s", (_, changes, message) => {
    expect(anew(template("a house"), {}, changes)).toMatch(message);
  });

  test("of a graph that is none is refused as the graph is", () => {
    expect(anew({ nodes: [], links: [] }, {}, { seed: 1 })).toMatch(/^graph_editor_format/);
  });

  test("warns of a prompt that has no place", () => {
    const graph = { "1": { class_type: "A", inputs: {} } };
    expect(
      planPage({ graph, set: {}, variables: new Map() }, { prompt: "x", seed: 1 }),
    ).toMatchObject({
      kind: "planned",
      set: {},
      warnings: [expect.stringContaining("prompt:"), expect.stringContaining("seed:")],
    });
  });
});
