import { readFileSync } from "node:fs";
import {
  applyPatch,
  parseObjectInfo,
  type Graph,
  type ObjectInfo,
} from "@holdfast/comfyui/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { reduceParameters, type Reduced } from "./reduce.ts";

const example = (name: string): Graph =>
  JSON.parse(
    readFileSync(new URL(`../../../../examples/${name}.json`, import.meta.url), "utf8"),
  ) as Graph;

/** Classes as `/object_info` declares them, cut down to what is looked at here. */
const OBJECT_INFO = parseObjectInfo({
  EmptyLatentImage: declared("LATENT", { width: 8, height: 8, batch_size: 1 }),
  EmptySD3LatentImage: declared("LATENT", { width: 16, height: 16, batch_size: 1 }),
  EmptyHunyuanLatentVideo: declared("LATENT", { width: 16, height: 16, length: 4, batch_size: 1 }),
  KSampler: declared("LATENT", { steps: 1 }),
  VAEDecode: declared("IMAGE", {}),
  SaveImage: { ...declared("", {}), output: [], output_node: true },
  ModelSamplingFlux: declared("MODEL", { width: 8, height: 8 }),
  BasicScheduler: declared("SIGMAS", { steps: 1 }),
}) as ObjectInfo;

function declared(output: string, steps: Record<string, number>) {
  const required = Object.fromEntries(
    Object.entries(steps).map(([name, step]) => [name, ["INT", { step }]]),
  );
  return { input: { required }, output: [output], output_node: false };
}

function textToImage(size: Record<string, unknown>, sampler: Record<string, unknown> = {}): Graph {
  return {
    "3": {
      class_type: "KSampler",
      inputs: { seed: 1, steps: 20, cfg: 8, latent_image: ["5", 0], ...sampler },
    },
    "5": { class_type: "EmptyLatentImage", inputs: size },
    "8": { class_type: "VAEDecode", inputs: { samples: ["3", 0] } },
    "9": { class_type: "SaveImage", inputs: { images: ["8", 0], filename_prefix: "a" } },
  };
}

/** The written values by `node.input`. */
function written(reduced: Reduced): Record<string, number> {
  if (reduced.kind === "nothing") throw new Error(reduced.reason);
  return Object.fromEntries(
    reduced.reductions.map((one) => [`${one.nodeId}.${one.input}`, one.written]),
  );
}

describe("the numbers of the error recovery API", () => {
  it("8 of 1024×1024 become 4 of 819×819, written as 816 where the node goes by eights", () => {
    const graph = textToImage({ batch_size: 8, width: 1024, height: 1024 }, { steps: 30 });
    const reduced = reduceParameters(graph, OBJECT_INFO);
    expect(reduced).toMatchObject({ kind: "reduced" });
    if (reduced.kind === "nothing") return;
    expect(
      reduced.reductions.map(({ role, from, to, written }) => [role, from, to, written]),
    ).toEqual([
      ["steps", 30, 24, 24],
      ["batch", 8, 4, 4],
      ["width", 1024, 819, 816],
      ["height", 1024, 819, 816],
    ]);
    const after = applyPatch(graph, reduced.patch);
    expect(after["5"]?.inputs).toEqual({ batch_size: 4, width: 816, height: 816 });
    expect(after["9"]).toEqual(graph["9"]);
  });

  it.each([
    [
      { batch_size: 5, width: 600, height: 512 },
      { batch_size: 2, width: 512 },
    ],
    [{ batch_size: 1, width: 520, height: 300 }, { width: 512 }],
    [{ batch_size: 3, width: 256, height: 256 }, { batch_size: 1 }],
  ])("%o: what is at its minimum stays, nothing goes under it", (size, expected) => {
    const names = Object.entries(expected).map(([name, value]) => [`5.${name}`, value]);
    expect(written(reduceParameters(textToImage(size), OBJECT_INFO))).toEqual(
      Object.fromEntries(names),
    );
  });

  it("says so when nothing can be made smaller, and names the values", () => {
    const least = textToImage({ batch_size: 1, width: 512, height: 512 });
    expect(reduceParameters(least, OBJECT_INFO)).toEqual({
      kind: "nothing",
      reason:
        "Everything that could be made smaller is at its minimum already: 3.steps = 20, 5.batch_size = 1, 5.width = 512, 5.height = 512.",
    });
    const none: Graph = { "1": { class_type: "SaveImage", inputs: { images: ["2", 0] } } };
    expect(reduceParameters(none, OBJECT_INFO)).toMatchObject({
      kind: "nothing",
      reason: expect.stringContaining("no batch, size or steps"),
    });
  });

  it("ends: from any size, reducing again and again comes to nothing to reduce", () => {
    const size = fc.record({
      batch_size: fc.integer({ min: 1, max: 4096 }),
      width: fc.integer({ min: 16, max: 16_384 }),
      height: fc.integer({ min: 16, max: 16_384 }),
    });
    fc.assert(
      fc.property(size, fc.integer({ min: 1, max: 10_000 }), (sizes, steps) => {
        let graph = textToImage(sizes, { steps });
        for (let round = 0; round < 60; round += 1) {
          const reduced = reduceParameters(graph, OBJECT_INFO);
          if (reduced.kind === "nothing") return;
          for (const one of reduced.reductions) {
            expect(one.written).toBeLessThan(one.from);
            const least = { batch: 1, width: 512, height: 512, steps: 20 }[one.role as "batch"];
            expect(one.written).toBeGreaterThanOrEqual(least);
          }
          graph = applyPatch(graph, reduced.patch);
        }
        throw new Error("it never ends");
      }),
    );
  });
});

describe("any graph", () => {
  it("both stages of a two-stage upscale shrink alike", () => {
    expect(written(reduceParameters(example("two-stage-upscale")))).toEqual({
      "10.width": 816,
      "10.height": 816,
      "17.width": 1632,
      "17.height": 1632,
    });
  });

  it("a custom sampler: steps of the scheduler, the size that the model is told of as well", () => {
    const graph = applyPatch(example("flux-text-to-image"), {
      set: [{ nodeId: "17", input: "steps", value: 28 }],
    });
    expect(written(reduceParameters(graph, OBJECT_INFO))).toEqual({
      "5.width": 816,
      "5.height": 816,
      "17.steps": 22,
      "30.width": 816,
      "30.height": 816,
    });
  });

  it("a video: the size first; the frames, by their raster, when the size is at its least", () => {
    const video = (width: number): Graph => ({
      "12:3": {
        class_type: "EmptyHunyuanLatentVideo",
        inputs: { width, height: 480, length: 25, batch_size: 1 },
      },
      "8": { class_type: "VAEDecode", inputs: { samples: ["12:3", 0] } },
      "9": { class_type: "SaveImage", inputs: { images: ["8", 0] } },
    });
    expect(written(reduceParameters(video(848), OBJECT_INFO))).toEqual({ "12:3.width": 672 });
    expect(written(reduceParameters(video(480), OBJECT_INFO))).toEqual({ "12:3.length": 17 });
    // The rasters of known families are known without a machine that declares them.
    expect(written(reduceParameters(video(848)))).toEqual({ "12:3.width": 672 });
    expect(written(reduceParameters(video(480)))).toEqual({ "12:3.length": 17 });
  });

  it("a number that comes from a primitive is set where it is used; the primitive stays", () => {
    const graph: Graph = {
      ...textToImage({ batch_size: 1, width: ["1", 0], height: 512 }),
      "1": { class_type: "PrimitiveInt", inputs: { value: 1024 } },
    };
    const reduced = reduceParameters(graph, OBJECT_INFO);
    expect(written(reduced)).toEqual({ "5.width": 816 });
  });

  it("a number that is computed is left alone", () => {
    const graph: Graph = {
      ...textToImage({ batch_size: 1, width: ["1", 0], height: 512 }),
      "1": { class_type: "Sum", inputs: { a: 1024, b: ["2", 0] } },
      "2": { class_type: "PrimitiveInt", inputs: { value: 8 } },
    };
    expect(reduceParameters(graph, OBJECT_INFO).kind).toBe("nothing");
  });

  it("areas and the marks of a second sampler move with size and steps", () => {
    const graph: Graph = {
      ...textToImage({ batch_size: 1, width: 1024, height: 1024 }),
      "3": {
        class_type: "KSamplerAdvanced",
        inputs: {
          steps: 25,
          start_at_step: 20,
          end_at_step: 10_000,
          positive: ["6", 0],
          latent_image: ["5", 0],
        },
      },
      "6": {
        class_type: "ConditioningSetArea",
        inputs: { width: 512, height: 1024, x: 512, y: 0, strength: 1, conditioning: ["7", 0] },
      },
      "7": { class_type: "CLIPTextEncode", inputs: { text: "steps width 1024" } },
    };
    expect(written(reduceParameters(graph))).toEqual({
      "3.steps": 20,
      "3.start_at_step": 16,
      "5.width": 816,
      "5.height": 816,
      "6.width": 408,
      "6.height": 816,
      "6.x": 408,
    });
  });

  it("nodes that no output needs are left alone", () => {
    const graph: Graph = {
      ...textToImage({ batch_size: 1, width: 512, height: 512 }),
      "20": {
        class_type: "EmptyLatentImage",
        inputs: { width: 2048, height: 2048, batch_size: 8 },
      },
    };
    expect(reduceParameters(graph, OBJECT_INFO).kind).toBe("nothing");
  });

  it("names of nodes and inputs that JavaScript knows do no harm", () => {
    const graph = JSON.parse(
      '{"constructor":{"class_type":"EmptyLatentImage","inputs":{"__proto__":1,"width":1024,"height":512,"batch_size":1}},"9":{"class_type":"SaveImage","inputs":{"images":["constructor",0]}}}',
    ) as Graph;
    expect(written(reduceParameters(graph, OBJECT_INFO))).toEqual({ "constructor.width": 816 });
  });
});
