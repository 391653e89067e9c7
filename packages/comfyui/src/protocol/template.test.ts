import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { arbitraryGraph } from "../../testing/arbitrary-graph.ts";
import type { Graph } from "./graph.ts";
import { fillTemplate, findTemplateVariables, type TemplateValue } from "./template.ts";

const graph: Graph = {
  "3": {
    class_type: "KSampler",
    inputs: { steps: "{{steps}}", cfg: "{{ cfg }}", model: ["4", 0] },
  },
  "4": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "a.safetensors" } },
  "6": {
    class_type: "CLIPTextEncode",
    inputs: { text: "{{subject}} in {{steps}} steps, {{subject}}", clip: ["4", 1] },
    _meta: { title: "{{not}} looked at" },
  },
  "7": { class_type: "Odd", inputs: { list: ["{{subject}}", "b", { deep: "{{cfg}}" }] } },
};

const fill = (template: Graph, values: Readonly<Record<string, TemplateValue>>): Graph => {
  const result = fillTemplate(template, values);
  if (result.kind === "missing") throw new Error(JSON.stringify(result.missing));
  return result.graph;
};
const oneText = (text: unknown): Graph => ({ "1": { class_type: "A", inputs: { text } } });

describe("a template", () => {
  test("has its variables with all their places", () => {
    expect(findTemplateVariables(graph)).toEqual([
      {
        name: "steps",
        places: [
          { nodeId: "3", input: "steps" },
          { nodeId: "6", input: "text" },
        ],
      },
      {
        name: "cfg",
        places: [
          { nodeId: "3", input: "cfg" },
          { nodeId: "7", input: "list" },
        ],
      },
      {
        name: "subject",
        places: [
          { nodeId: "6", input: "text" },
          { nodeId: "7", input: "list" },
        ],
      },
    ]);
  });

  test("takes a value with its type where it stands alone, and as text inside a text", () => {
    const result = fill(graph, { steps: 20, cfg: 7.5, subject: "a knight" });
    expect(result["3"]?.inputs).toEqual({ steps: 20, cfg: 7.5, model: ["4", 0] });
    expect(result["6"]?.inputs["text"]).toBe("a knight in 20 steps, a knight");
    expect(result["7"]?.inputs["list"]).toEqual(["a knight", "b", { deep: 7.5 }]);
    expect(result["4"]).toBe(graph["4"]);
    expect(fill(oneText("{{on}}"), { on: false })["1"]?.inputs["text"]).toBe(false);
    expect(fill(oneText("{{n}}"), { n: 0 })["1"]?.inputs["text"]).toBe(0);
    expect(fill(oneText("{{t}}"), { t: "" })["1"]?.inputs["text"]).toBe("");
  });

  test("says which values are missing and which have no place", () => {
    const missing = fillTemplate(graph, { steps: 20 });
    expect(missing.kind === "missing" && missing.missing.map(({ name }) => name)).toEqual([
      "cfg",
      "subject",
    ]);
    expect(fillTemplate(oneText("{{a}}"), { a: 1, b: 2 })).toMatchObject({ unused: ["b"] });
  });

  test("keeps what only looks like a variable", () => {
    for (const text of [
      "{{}}",
      "{{ }}",
      "{{a|b}|c}",
      "{{a b}}",
      "{a}",
      "{{1}}",
      "{{a\n}}",
      "}}{{",
    ]) {
      expect(findTemplateVariables(oneText(text))).toEqual([]);
      expect(fill(oneText(text), {})).toEqual(oneText(text));
    }
  });

  test("knows no names of JavaScript's own, and takes them as names", () => {
    for (const name of ["constructor", "__proto__", "toString", "hasOwnProperty"]) {
      const template = oneText(`a {{${name}}}`);
      expect(fillTemplate(template, {}).kind).toBe("missing");
      const values = JSON.parse(`{"${name}": "b"}`) as Record<string, string>;
      expect(fill(template, values)["1"]?.inputs["text"]).toBe("a b");
    }
    const inputs = JSON.parse('{"__proto__": "{{a}}"}') as Record<string, unknown>;
    const result = fill({ "1": { class_type: "A", inputs } }, { a: "b" });
    expect(JSON.stringify(result["1"]?.inputs)).toBe('{"__proto__":"b"}');
  });

  test("puts values in as they are, whatever they hold", () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom("{{a}}", "{{b}}", "$&", "$1", "{{", "}}", "x"), { maxLength: 6 }),
        (parts) => {
          const value = parts.join("");
          const result = fill(oneText("{{a}}, {{a}}{{b}}"), { a: value, b: "B" });
          expect(result["1"]?.inputs["text"]).toBe(`${value}, ${value}B`);
          expect(fill(oneText("{{a}}"), { a: value })["1"]?.inputs["text"]).toBe(value);
        },
      ),
    );
  });

  test("without variables is the same graph, links and the order of its keys included", () => {
    fc.assert(
      fc.property(arbitraryGraph, (plain) => {
        expect(JSON.stringify(fill(plain, {}))).toBe(JSON.stringify(plain));
      }),
    );
  });
});
