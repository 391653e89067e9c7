import { readFileSync } from "node:fs";
import { applyPatch, findCycle, links, nodeOf, type Graph } from "@holdfast/comfyui/protocol";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { splitBatch, type Split } from "./split-batch.ts";

const example = (name: string): Graph =>
  JSON.parse(
    readFileSync(new URL(`../../../../examples/${name}.json`, import.meta.url), "utf8"),
  ) as Graph;
const withBatch = (batch: number, set: Record<string, unknown> = {}): Graph =>
  applyPatch(example("sd15-text-to-image"), {
    set: [
      { nodeId: "5", input: "batch_size", value: batch },
      ...Object.entries(set).map(([place, value]) => {
        const [nodeId = "", input = ""] = place.split(".");
        return { nodeId, input, value };
      }),
    ],
  });
function apply(graph: Graph, split: Split): Graph {
  if (split.kind === "nothing") throw new Error(split.reason);
  return applyPatch(graph, split.patch);
}

/** Which pictures of the batch come out at a link, in order: what the graph would render. */
function picturesAt(graph: Graph, link: unknown): readonly number[] {
  const [id] = link as [string, number];
  const node = nodeOf(graph, id);
  if (node === undefined) throw new Error(`no node ${id}`);
  const { inputs } = node;
  switch (node.class_type) {
    case "EmptyLatentImage":
      return Array.from({ length: inputs["batch_size"] as number }, (_, index) => index);
    case "LatentFromBatch": {
      const at = inputs["batch_index"] as number;
      return picturesAt(graph, inputs["samples"]).slice(at, at + (inputs["length"] as number));
    }
    case "ImageBatch":
      return [...picturesAt(graph, inputs["image1"]), ...picturesAt(graph, inputs["image2"])];
    default:
      return picturesAt(graph, inputs["latent_image"] ?? inputs["samples"] ?? inputs["image"]);
  }
}

describe("a batch in parts", () => {
  it("is the same prompt for each part, joined before it is saved by the same node", () => {
    const graph = withBatch(3);
    const split = splitBatch(graph, 2);
    expect(split).toMatchObject({ kind: "split", parts: 2, isIdentical: true });
    const after = apply(graph, split);
    expect(after["5:part1"]?.inputs).toEqual({ samples: ["5", 0], batch_index: 0, length: 2 });
    expect(after["5:part2"]?.inputs).toEqual({ samples: ["5", 0], batch_index: 2, length: 1 });
    expect(after["3"]?.inputs).toEqual({ ...graph["3"]?.inputs, latent_image: ["5:part1", 0] });
    expect(after["3:part2"]).toEqual({
      ...graph["3"],
      inputs: { ...graph["3"]?.inputs, latent_image: ["5:part2", 0] },
    });
    expect(after["9"]).toEqual({
      ...graph["9"],
      inputs: { ...graph["9"]?.inputs, images: ["8:joined", 0] },
    });
  });

  it("gives every picture once and in order, whatever the batch and the part", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 60 }), fc.integer({ min: 1, max: 59 }), (n, size) => {
        fc.pre(size < n);
        const after = apply(withBatch(n), splitBatch(withBatch(n), size));
        expect(picturesAt(after, after["9"]?.inputs["images"])).toEqual(
          Array.from({ length: n }, (_, index) => index),
        );
        expect(findCycle(after)).toBeUndefined();
        for (const { fromId } of links(after)) expect(nodeOf(after, fromId)).toBeDefined();
      }),
      { numRuns: 60 },
    );
  });

  it("joins at every output of a graph with several, first pass and final", () => {
    const graph = applyPatch(example("two-stage-upscale"), {
      set: [
        { nodeId: "5", input: "batch_size", value: 4 },
        { nodeId: "3", input: "sampler_name", value: "euler" },
      ],
    });
    const after = apply(graph, splitBatch(graph, 1));
    for (const output of ["12", "18"]) {
      expect(picturesAt(after, after[output]?.inputs["images"])).toEqual([0, 1, 2, 3]);
    }
    expect(Object.keys(after).length).toBe(14 + 4 + 3 * 7 + 2 * 3);
  });

  it.each([
    ["an ancestral sampler", { "3.sampler_name": "euler_ancestral" }, "euler_ancestral"],
    ["a size that F20 does not hold for", { "5.width": 72, "5.height": 88 }, "noise"],
  ])("with %s is said not to be identical", (_, set, reason) => {
    expect(splitBatch(withBatch(4, set), 2)).toMatchObject({
      kind: "split",
      isIdentical: false,
      notIdentical: expect.stringContaining(reason),
    });
  });

  it.each([
    ["LatentUpscale", { width: 600, height: 600 }, "noise of this size"],
    ["LatentUpscaleBy", { scale_by: 1.5 }, "by a factor"],
  ])(
    "with a second sampler behind %s is not identical where its noise is not",
    (name, size, why) => {
      const second = { ...nodeOf(withBatch(2), "3"), class_type: "KSampler" };
      const graph = applyPatch(withBatch(2), {
        set: [{ nodeId: "8", input: "samples", value: ["31", 0] }],
        putNodes: [
          { nodeId: "30", node: { class_type: name, inputs: { ...size, samples: ["3", 0] } } },
          {
            nodeId: "31",
            node: { ...second, inputs: { ...second.inputs, latent_image: ["30", 0] } },
          },
        ],
      });
      expect(splitBatch(graph, 1)).toMatchObject({
        isIdentical: false,
        notIdentical: expect.stringContaining(why),
      });
    },
  );

  it("joins the output that was taken, not the first", () => {
    const sampler = { class_type: "SamplerCustom", inputs: { latent_image: ["5", 0] } };
    const graph: Graph = {
      "5": { class_type: "EmptyLatentImage", inputs: { width: 64, height: 64, batch_size: 2 } },
      "3": sampler,
      "9": { class_type: "SaveLatent", inputs: { samples: ["3", 1], filename_prefix: "a" } },
    };
    const after = apply(graph, splitBatch(graph, 1));
    expect(after["3:joined"]).toEqual({
      class_type: "LatentBatch",
      inputs: { samples1: ["3", 1], samples2: ["3:part2", 1] },
    });
  });

  it("does not take ids that the graph has", () => {
    const graph = {
      ...withBatch(2),
      "3:part2": { class_type: "Note", inputs: {} },
    };
    const after = apply(graph, splitBatch(graph, 1));
    expect(after["3:part2"]).toEqual(graph["3:part2"]);
    expect(picturesAt(after, after["9"]?.inputs["images"])).toEqual([0, 1]);
  });
});

describe("what cannot be split says why", () => {
  it.each([
    ["one picture", withBatch(1), 1, "one picture"],
    ["a batch as large as a part", withBatch(4), 4, "no larger"],
    ["more parts than are reasonable", withBatch(100), 1, "64 parts"],
    ["a video", example("image-to-video"), 1, "one picture"],
    [
      "a node that may look across the batch",
      applyPatch(withBatch(4), {
        set: [{ nodeId: "9", input: "images", value: ["30", 0] }],
        putNodes: [
          { nodeId: "30", node: { class_type: "ImageGrid", inputs: { images: ["8", 0] } } },
        ],
      }),
      2,
      "Node 30 (ImageGrid)",
    ],
    [
      "a batch of pictures that were never latents",
      {
        "1": { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 4 } },
        "2": { class_type: "ImageScale", inputs: { image: ["1", 0], width: 512, height: 512 } },
        "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "a" } },
      } as Graph,
      2,
      "is not known",
    ],
    [
      "latents that are repeated: how many there were is not known",
      applyPatch(withBatch(1), {
        set: [{ nodeId: "3", input: "latent_image", value: ["30", 0] }],
        putNodes: [
          {
            nodeId: "30",
            node: { class_type: "RepeatLatentBatch", inputs: { samples: ["5", 0], amount: 2 } },
          },
        ],
      }),
      1,
      "RepeatLatentBatch",
    ],
    [
      "a motion model: the batch is a film",
      applyPatch(withBatch(4), {
        set: [{ nodeId: "3", input: "model", value: ["30", 0] }],
        putNodes: [
          {
            nodeId: "30",
            node: { class_type: "ADE_AnimateDiffLoaderWithContext", inputs: { model: ["4", 0] } },
          },
        ],
      }),
      1,
      "ADE_AnimateDiffLoaderWithContext",
    ],
    [
      "hints, one for each picture",
      applyPatch(example("lora-controlnet"), {
        set: [{ nodeId: "5", input: "batch_size", value: 2 }],
      }),
      1,
      "may give each picture",
    ],
    [
      "two batches",
      applyPatch(withBatch(4), {
        set: [{ nodeId: "9", input: "images", value: ["31", 0] }],
        putNodes: [
          {
            nodeId: "30",
            node: {
              class_type: "EmptyImage",
              inputs: { width: 64, height: 64, batch_size: 4, color: 0 },
            },
          },
          {
            nodeId: "31",
            node: { class_type: "ImageBatch", inputs: { image1: ["8", 0], image2: ["30", 0] } },
          },
        ],
      }),
      2,
      "several",
    ],
  ])("%s", (_, graph, size, reason) => {
    expect(splitBatch(graph, size)).toEqual({
      kind: "nothing",
      reason: expect.stringContaining(reason),
    });
  });
});
