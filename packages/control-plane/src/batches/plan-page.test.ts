import { fillTemplate } from "@holdfast/comfyui/protocol";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readFilled } from "./filled-text.ts";
import { planPage } from "./plan-page.ts";
import {
  fillInput,
  findPlaces,
  type TemplateInput,
  type VariableValue,
} from "./template-places.ts";

type Changes = Parameters<typeof planPage>[2];

function graphWith(text: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "a" } },
    "3": {
      class_type: "KSampler",
      inputs: { seed: 1, positive: ["6", 0], negative: ["7", 0], latent_image: ["5", 0] },
    },
    "5": { class_type: "EmptyLatentImage", inputs: { width: 8 } },
    "6": { class_type: "CLIPTextEncode", inputs: { text, clip: ["1", 1] } },
    "7": { class_type: "CLIPTextEncode", inputs: { text: "blurry", clip: ["1", 1], ...more } },
  };
}

function planned(graph: unknown, set: Record<string, unknown>, changes: Changes): unknown {
  const plan = planPage(graph, set, changes);
  return plan.kind === "planned" ? plan.set : `${plan.code}: ${plan.message}`;
}

describe("a page that is made anew", () => {
  test("keeps its values but for the new ones", () => {
    const set = { "3.seed": 5, "6.text": "a cat" };
    expect(planned(graphWith("a house"), set, {})).toEqual(set);
    expect(planned(graphWith("a house"), set, { seed: 9, set: { "5.width": 16 } })).toEqual({
      "3.seed": 9,
      "5.width": 16,
      "6.text": "a cat",
    });
    expect(planned(graphWith("a house"), set, { prompt: "a dog" })).toEqual({
      "3.seed": 5,
      "6.text": "a dog",
    });
  });

  test("puts a prompt beside the variables that stand in its text", () => {
    const graph = graphWith("{{prompt}}, {{style}}, sharp");
    const set = { "6.text": "a cat, oil, sharp" };
    expect(planned(graph, set, { prompt: "a dog" })).toEqual({ "6.text": "a dog, oil, sharp" });
    expect(planned(graph, set, { set: { style: "ink" } })).toEqual({
      "6.text": "a cat, ink, sharp",
    });
  });

  test("knows a variable from where it stands alone", () => {
    const graph = graphWith("{{prompt}}, {{style}}", { title: "{{style}}" });
    const set = { "6.text": "a cat, oil, wet", "7.title": "oil, wet" };
    expect(planned(graph, set, { prompt: "a dog" })).toEqual({
      ...set,
      "6.text": "a dog, oil, wet",
    });
  });

  test.each([
    ["a text that reads in two ways", { "6.text": "a, b, c" }],
    ["a text that was put there whole", { "6.text": "something else" }],
    ["no text yet", {}],
    [
      "a text that what stands alone does not explain",
      { "6.text": "a cat, oil", "7.title": "ink" },
    ],
  ])("does not guess at %s", (_, set) => {
    const graph = graphWith("{{prompt}}, {{style}}", { title: "{{style}}" });
    expect(planned(graph, set, { prompt: "a dog" })).toMatch(
      /no value for \{\{style\}\} of 6\.text, which stands there beside \{\{prompt\}\}/,
    );
    const whole = { "6.text": "a dog, oil" };
    expect(planned(graph, { ...set, "7.title": "t" }, { set: whole })).toEqual({
      "7.title": "t",
      ...whole,
    });
  });

  test("leaves a value out that never fitted, and says so", () => {
    expect(
      planPage(graphWith("a house"), { "99.seed": 1, "3.seed": 2 }, { prompt: "sea" }),
    ).toEqual({
      kind: "planned",
      set: { "3.seed": 2, "6.text": "sea" },
      warnings: [expect.stringMatching(/^99\.seed: the graph has no node "99".*left out now$/)],
    });
  });

  test.each<[string, Changes, RegExp]>([
    ["an input that is not there", { set: { "9.x": 1 } }, /^override_unmatched: .*no node "9"/],
    ["a loose link", { set: { "3.positive": ["9", 0] } }, /^graph_dangling_link: after set/],
    ["text that cannot be stored", { prompt: "\0" }, /^invalid_request: prompt holds a NUL/],
    ["such a value", { set: { "6.text": "\0" } }, /^invalid_request: set holds a NUL/],
  ])("is refused for %s", (_, changes, message) => {
    expect(planned(graphWith("a house"), {}, changes)).toMatch(message);
  });

  test("of a graph that is none is refused as the graph is", () => {
    expect(planned({ nodes: [], links: [] }, {}, { seed: 1 })).toMatch(/^graph_editor_format/);
  });

  test("warns of a prompt that has no place", () => {
    const graph = { "1": { class_type: "A", inputs: {} } };
    expect(planPage(graph, {}, { prompt: "x", seed: 1 })).toMatchObject({
      kind: "planned",
      set: {},
      warnings: [expect.stringContaining("prompt:"), expect.stringContaining("seed:")],
    });
  });
});

test("values read from a filled text are those that were put in, or none", () => {
  const piece = fc.oneof(fc.string({ maxLength: 4 }), fc.constantFrom("", ", ", "a"));
  const template = fc.array(fc.tuple(piece, fc.constantFrom("", "{{x}}", "{{y}}")), {
    maxLength: 6,
  });
  fc.assert(
    fc.property(template, piece, piece, (parts, x, y) => {
      const text = parts.flat().join("");
      fc.pre(![text, x, y].some((one) => one.includes("\0")));
      const graph = { n: { class_type: "A", inputs: { i: text } } };
      const input: TemplateInput | undefined = findPlaces(graph).inputs.get("n.i");
      if (input === undefined) return;
      const values = new Map<string, VariableValue>([
        ["x", { within: x, alone: x }],
        ["y", { within: y, alone: y }],
      ]);
      const filled = fillInput(input, values)?.value;
      const whole = fillTemplate(graph, { x, y });
      expect(whole.kind === "graph" && whole.graph["n"]?.inputs["i"]).toBe(filled);
      for (const [name, value] of readFilled(input, filled, new Map()) ?? []) {
        expect(value).toBe(values.get(name)?.within);
      }
    }),
    { numRuns: 2_000 },
  );
});
