import { applyPatch, nodeOf, type Graph } from "@holdfast/comfyui/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { adjustParameters, type Adjusted } from "./adjust-parameters.ts";
import type { ParameterAdjustment, ParameterAdjustments } from "./custom-pattern.ts";

const GRAPH: Graph = {
  "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "a.safetensors" } },
  "2": { class_type: "PrimitiveInt", inputs: { value: 40 } },
  "3": {
    class_type: "KSampler",
    inputs: {
      seed: 7,
      steps: ["2", 0],
      cfg: 8.5,
      sampler_name: "euler",
      model: ["1", 0],
      latent_image: ["5", 0],
    },
  },
  "5": {
    class_type: "EmptyLatentImage",
    inputs: { width: 1024, height: 1024, batch_size: 8 },
  },
  "8": { class_type: "VAEDecode", inputs: { samples: ["3", 0], vae: ["1", 2] } },
  "9": { class_type: "SaveImage", inputs: { images: ["8", 0], filename_prefix: "a" } },
  "12:3.x": { class_type: "Vendor", inputs: { custom_param: 10, "a.b": true, strength: 0.7 } },
};

const half: ParameterAdjustment = { operation: "reduce", factor: 0.5 };
const written = (adjusted: Adjusted) =>
  adjusted.kind === "nothing"
    ? {}
    : Object.fromEntries(
        adjusted.changes.map((one) => [`${one.nodeId}.${one.input}`, one.written]),
      );
const adjust = (adjustments: ParameterAdjustments, graph: Graph = GRAPH) =>
  adjustParameters(graph, adjustments);

describe("adjustParameters", () => {
  it("knows the parameters by their names in C1", () => {
    expect(
      written(
        adjust({
          batch_size: half,
          width: { operation: "reduce", factor: 0.8 },
          num_inference_steps: { operation: "reduce", factor: 0.8, min: 20 },
          seed: { operation: "set", value: 99 },
          cfg: { operation: "multiply", factor: 0.5 },
          model: { operation: "set", value: "b.safetensors" },
        }),
      ),
    ).toEqual({
      "5.batch_size": 4,
      "5.width": 816,
      "3.steps": 32,
      "3.seed": 99,
      "3.cfg": 4.25,
      "1.ckpt_name": "b.safetensors",
    });
  });

  it("says what the rule gave beside what the node's raster leaves of it", () => {
    const adjusted = adjust({ width: { operation: "reduce", factor: 0.8 } });
    expect(adjusted).toMatchObject({
      changes: [{ parameter: "width", nodeId: "5", from: 1024, to: 819, written: 816 }],
    });
  });

  it("changes an input of one node, or of a name anywhere", () => {
    expect(written(adjust({ custom_param: half }))).toEqual({ "12:3.x.custom_param": 5 });
    expect(written(adjust({ "12:3.x.custom_param": half }))).toEqual({ "12:3.x.custom_param": 5 });
    expect(written(adjust({ "12:3.x.a.b": { operation: "set", value: false } }))).toEqual({
      "12:3.x.a.b": false,
    });
    expect(written(adjust({ "3.steps": half }))).toEqual({ "3.steps": 20 });
  });

  it("replaces the link to a number, so that nobody else who takes it is changed", () => {
    const adjusted = adjust({ num_inference_steps: half });
    if (adjusted.kind === "nothing") throw new Error("nothing was changed");
    const graph = applyPatch(GRAPH, adjusted.patch);
    expect(nodeOf(graph, "3")?.inputs["steps"]).toBe(20);
    expect(nodeOf(graph, "2")?.inputs["value"]).toBe(40);
  });

  it("keeps whole numbers whole, rounding in the direction of the change", () => {
    const one = { "1": { class_type: "V", inputs: { n: 3, f: 0.3 } } };
    expect(written(adjust({ n: half }, one))).toEqual({ "1.n": 1 });
    expect(written(adjust({ n: { operation: "increase", factor: 1.1 } }, one))).toEqual({
      "1.n": 4,
    });
    expect(written(adjust({ f: { operation: "multiply", factor: 3 } }, one))).toEqual({
      "1.f": 0.9,
    });
  });

  it("leaves what is at its bound, and says so", () => {
    expect(adjust({ custom_param: { ...half, min: 10 } })).toEqual({
      kind: "nothing",
      unmatched: [
        {
          parameter: "custom_param",
          reason: "It is at its bound, or what was wanted, already: 12:3.x.custom_param = 10.",
        },
      ],
    });
    expect(adjust({ batch_size: half }, applyPatch(GRAPH, batch(1)))).toMatchObject({
      kind: "nothing",
    });
    expect(
      written(adjust({ custom_param: { operation: "increase", factor: 9, max: 12 } })),
    ).toEqual({ "12:3.x.custom_param": 12 });
  });

  it("goes over the bound to the raster's next multiple where it must", () => {
    expect(written(adjust({ width: { ...half, min: 513 } }))).toEqual({ "5.width": 520 });
    expect(written(adjust({ width: { ...half, min: 513, max: 515 } }))).toEqual({ "5.width": 513 });
  });

  it("says why a name changed nothing, and does the others", () => {
    expect(
      adjust({
        nothing_like_it: half,
        sampler_name: half,
        samples: { operation: "set", value: 1 },
        constructor: half,
        cfg: half,
      }),
    ).toMatchObject({
      changes: [{ parameter: "cfg" }],
      unmatched: [
        { parameter: "nothing_like_it", reason: "The graph has no such parameter." },
        { parameter: "sampler_name", reason: /another kind of value: 3\.sampler_name = "euler"/ },
        { parameter: "samples", reason: "The graph has no such parameter." },
        { parameter: "constructor", reason: "The graph has no such parameter." },
      ].map((one) => ({
        ...one,
        reason:
          typeof one.reason === "string"
            ? one.reason
            : (expect.stringMatching(one.reason) as string),
      })),
    });
  });

  it("changes a place once, by the first name that stands for it", () => {
    expect(written(adjust({ cfg: { operation: "set", value: 1 }, "3.cfg": half }))).toEqual({
      "3.cfg": 1,
    });
  });

  it("does not leave its bounds, and moves one way only", () => {
    const number = fc.oneof(
      fc.integer({ min: -50, max: 5_000 }),
      fc.double({ min: -5, max: 5_000, noNaN: true }),
    );
    fc.assert(
      fc.property(
        fc.constantFrom("width", "batch_size", "custom_param", "strength"),
        fc.constantFrom("reduce", "increase", "multiply" as const),
        fc.double({ min: 0.01, max: 0.99, noNaN: true }),
        fc.option(number, { nil: undefined }),
        fc.option(number, { nil: undefined }),
        fc.integer({ min: 16, max: 4_096 }),
        (parameter, operation, share, low, high, value) => {
          const min = low === undefined || high === undefined ? low : Math.min(low, high);
          const max = low === undefined || high === undefined ? high : Math.max(low, high);
          const factor = operation === "increase" ? 1 + share : share;
          const graph = applyPatch(GRAPH, {
            set: [
              { nodeId: "5", input: "width", value },
              { nodeId: "5", input: "batch_size", value },
              { nodeId: "12:3.x", input: "custom_param", value },
            ],
          });
          const adjusted = adjust(
            {
              [parameter]: {
                operation: operation as "reduce",
                factor,
                ...(min === undefined ? {} : { min }),
                ...(max === undefined ? {} : { max }),
              },
            },
            graph,
          );
          for (const one of adjusted.kind === "nothing" ? [] : adjusted.changes) {
            const [from, to] = [Number(one.from), Number(one.written)];
            expect(to).toBeGreaterThanOrEqual(min ?? -Infinity);
            expect(to).toBeLessThanOrEqual(max ?? Infinity);
            if (Number.isInteger(from)) expect(Number.isInteger(to)).toBe(true);
            const isWithin = from >= (min ?? -Infinity) && from <= (max ?? Infinity);
            if (isWithin) expect(to < from).toBe(operation !== "increase");
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});

function batch(value: number) {
  return { set: [{ nodeId: "5", input: "batch_size", value }] };
}
