import { fillTemplate } from "@holdfast/comfyui/protocol";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { fillInput, findPlaces } from "./template-places.ts";

test("an input that is put together from its parts is what the template says", () => {
  const piece = fc.oneof(fc.string({ maxLength: 4 }), fc.constantFrom("", ", ", "a"));
  const template = fc.array(fc.tuple(piece, fc.constantFrom("", "{{x}}", "{{y}}")), {
    maxLength: 6,
  });
  fc.assert(
    fc.property(template, piece, piece, (parts, x, y) => {
      const text = parts.flat().join("");
      fc.pre(![text, x, y].some((one) => one.includes("\0")));
      const graph = { n: { class_type: "A", inputs: { i: text } } };
      const input = findPlaces(graph).inputs.get("n.i");
      if (input === undefined) return;
      const values = new Map([
        ["x", { within: x }],
        ["y", { within: y }],
      ]);
      const whole = fillTemplate(graph, { x, y });
      expect(whole.kind === "graph" && whole.graph["n"]?.inputs["i"]).toBe(
        fillInput(input, values)?.value,
      );
    }),
    { numRuns: 2_000 },
  );
});
