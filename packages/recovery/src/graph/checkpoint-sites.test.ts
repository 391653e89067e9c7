import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { applyPatch, type Graph, type InputValue } from "@holdfast/comfyui/protocol";
import { describe, expect, it } from "vitest";
import { checkpointNodes } from "./add-checkpoints.ts";
import { CHECKPOINT_SITES_MAX, findCheckpointSites } from "./checkpoint-sites.ts";
import { segmentSamplers } from "./segment-sampler.ts";
import { splitBatch } from "./split-batch.ts";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const ALWAYS = { minWork: 0 };
const example = (name: string): Graph =>
  JSON.parse(
    readFileSync(new URL(`../../../../examples/${name}.json`, import.meta.url), "utf8"),
  ) as Graph;
const set = (graph: Graph, values: Readonly<Record<string, unknown>>): Graph =>
  applyPatch(graph, {
    set: Object.entries(values).map(([place, value]): InputValue => {
      const [nodeId = "", input = ""] = place.split(".");
      return { nodeId, input, value };
    }),
  });
const placesOf = (graph: Graph, rule?: { minWork: number }): readonly string[] =>
  findCheckpointSites(graph, sha256, rule).map(({ source }) => source.join(":"));
const keyOf = (graph: Graph, place: string): string | undefined =>
  findCheckpointSites(graph, sha256, ALWAYS).find(({ source }) => source.join(":") === place)?.key;

describe("where a run is worth putting away", () => {
  const small = example("sd15-text-to-image");
  const large = set(small, { "5.width": 1024, "5.height": 1024 });

  it("is behind long samplers, and not in the short prompts that an extra file would slow down", () => {
    expect(placesOf(small)).toEqual([]);
    expect(placesOf(set(small, { "5.batch_size": 8 }))).toEqual(["3:0"]);
    expect(placesOf(large)).toEqual(["3:0"]);
    expect(placesOf(set(large, { "3.steps": 10 }))).toEqual([]);
    expect(placesOf(example("sdxl-text-to-image")).length).toBeGreaterThan(0);
  });

  it("is behind both stages, the second at the size that it scales to", () => {
    const both = findCheckpointSites(example("two-stage-upscale"), sha256, ALWAYS);
    expect(both).toHaveLength(2);
    const [first, second] = both;
    expect(second?.work).toBeGreaterThan(first?.work ?? Infinity);
  });

  it("counts steps of a schedule that comes by a link, and the frames of a video", () => {
    const flux = findCheckpointSites(example("flux-text-to-image"), sha256, ALWAYS);
    expect(flux.map(({ classType }) => classType)).toEqual(["SamplerCustomAdvanced"]);
    const video = set(
      {
        ...large,
        "5": {
          class_type: "EmptyHunyuanLatentVideo",
          inputs: { width: 320, height: 320, length: 81, batch_size: 1 },
        },
      },
      {},
    );
    expect(findCheckpointSites(video, sha256)[0]?.work).toBeCloseTo(20 * 0.1024 * 81);
  });

  it("finds nodes of subgraphs, and only outputs that are taken as latents", () => {
    const renamed: Graph = {
      ...large,
      "12:3": large["3"] ?? { class_type: "", inputs: {} },
      "8": { class_type: "VAEDecode", inputs: { samples: ["12:3", 0], vae: ["4", 2] } },
    };
    delete (renamed as Record<string, unknown>)["3"];
    expect(placesOf(renamed)).toEqual(["12:3:0"]);
    const other = set(large, { "8.samples": ["5", 0] });
    expect(
      placesOf({ ...other, "10": { class_type: "Odd", inputs: { model: ["3", 0] } } }),
    ).toEqual([]);
  });

  it("leaves out a latent that somebody behind it reads more of than its numbers", () => {
    const masked: Graph = {
      ...large,
      "20": { class_type: "SetLatentNoiseMask", inputs: { samples: ["5", 0], mask: ["21", 0] } },
      "3": { class_type: "KSampler", inputs: { ...large["3"]?.inputs, latent_image: ["20", 0] } },
    };
    // What a decoder reads are the numbers alone.
    expect(placesOf(masked)).toEqual(["3:0"]);
    const twice: Graph = {
      ...masked,
      "22": { class_type: "KSampler", inputs: { ...large["3"]?.inputs, latent_image: ["3", 0] } },
      "8": { class_type: "VAEDecode", inputs: { samples: ["22", 0], vae: ["4", 2] } },
    };
    expect(placesOf(twice)).toEqual(["22:0"]);
    const unmasked = set(twice, { "3.latent_image": ["5", 0] });
    expect(placesOf(unmasked)).toEqual(["3:0", "22:0"]);
    // Behind a class that nobody knows, anything may be read.
    const odd: Graph = {
      ...masked,
      "23": { class_type: "OddLatents", inputs: { samples: ["3", 0] } },
      "8": { class_type: "VAEDecode", inputs: { samples: ["23", 0], vae: ["4", 2] } },
    };
    expect(placesOf(odd)).toEqual([]);
  });

  it("has every part of a batch that was split, and no more than a limit", () => {
    const batch = set(large, { "5.batch_size": 40 });
    const split = splitBatch(batch, 1);
    if (split.kind !== "split") throw new Error(split.reason);
    const parts = applyPatch(batch, split.patch);
    expect(placesOf(parts)).toHaveLength(CHECKPOINT_SITES_MAX);
    expect(placesOf(parts, { minWork: 100 })).toEqual([]);
  });
});

describe("the key of a checkpoint", () => {
  const graph = example("two-stage-upscale");
  const [first = "", second = ""] = placesOf(graph, ALWAYS);
  const [firstId = ""] = first.split(":");

  it("changes with anything that decides the latent, and with nothing else", () => {
    const key = keyOf(graph, first);
    expect(key).toMatch(/^[0-9a-f]{64}$/);
    const secondId = second.split(":")[0] ?? "";
    expect(keyOf(set(graph, { [`${secondId}.seed`]: 99 }), first)).toBe(key);
    expect(keyOf(set(graph, { [`${secondId}.seed`]: 99 }), second)).not.toBe(keyOf(graph, second));
    for (const change of [{ [`${firstId}.seed`]: 99 }, { [`${firstId}.steps`]: 99 }]) {
      expect(keyOf(set(graph, change), first)).not.toBe(key);
      expect(keyOf(set(graph, change), second)).not.toBe(keyOf(graph, second));
    }
    const titled = Object.fromEntries(
      Object.entries(graph).map(([id, node]) => [id, { ...node, _meta: { title: "x" } }]),
    );
    expect(keyOf(titled, first)).toBe(key);
  });

  it("stands for equal work once", () => {
    const twin: Graph = {
      ...graph,
      "90": graph[firstId] ?? { class_type: "", inputs: {} },
      "91": { class_type: "VAEDecode", inputs: { samples: ["90", 0], vae: ["4", 2] } },
      "92": { class_type: "SaveImage", inputs: { images: ["91", 0], filename_prefix: "x" } },
    };
    expect(placesOf(twin, ALWAYS)).toHaveLength(2);
  });
});

describe("the nodes that save", () => {
  it("have ids and prefixes of their own, the same at every call", () => {
    const graph = example("two-stage-upscale");
    const taken: Graph = { ...graph };
    const [first] = findCheckpointSites(graph, sha256, ALWAYS);
    const id = `checkpoint:${first?.source.join(":") ?? ""}`;
    const crowded = { ...taken, [id]: { class_type: "PrimitiveInt", inputs: { value: 1 } } };
    const sites = findCheckpointSites(crowded, sha256, ALWAYS);
    const nodes = checkpointNodes(crowded, sites);
    expect(checkpointNodes(crowded, sites)).toEqual(nodes);
    expect(nodes[0]).toMatchObject({
      nodeId: `${id}_2`,
      key: first?.key,
      node: { class_type: "SaveLatent", inputs: { samples: first?.source } },
    });
    const prefixes = nodes.map(({ node }) => node.inputs["filename_prefix"]);
    expect(new Set(prefixes).size).toBe(nodes.length);
  });
});

it("does not lose itself in a graph made to be hard", () => {
  const graph: Record<string, Graph[string]> = { ...example("sd15-text-to-image") };
  let before = "5";
  for (let n = 0; n < 3_000; n += 1) {
    const id = `h${String(n)}`;
    graph[id] =
      n % 2 === 0
        ? { class_type: "LatentUpscale", inputs: { samples: [before, 0], width: 0, height: 0 } }
        : {
            class_type: "KSampler",
            inputs: { ...graph["3"]?.inputs, seed: n, latent_image: [before, 0] },
          };
    before = id;
  }
  graph["8"] = { class_type: "VAEDecode", inputs: { samples: [before, 0], vae: ["4", 2] } };
  const begun = performance.now();
  expect(findCheckpointSites(graph, sha256, ALWAYS)).toHaveLength(CHECKPOINT_SITES_MAX);
  segmentSamplers(graph);
  expect(performance.now() - begun).toBeLessThan(2_000);
});

it("finds the sites of a large graph in a few milliseconds", () => {
  const graph: Record<string, Graph[string]> = { ...example("sd15-text-to-image") };
  for (let n = 0; n < 100; n += 1) {
    const before = n === 0 ? "3" : `s${String(n - 1)}`;
    graph[`s${String(n)}`] = {
      class_type: "KSampler",
      inputs: { ...graph["3"]?.inputs, seed: n, latent_image: [before, 0] },
    };
    graph[`d${String(n)}`] = {
      class_type: "VAEDecode",
      inputs: { samples: [`s${String(n)}`, 0], vae: ["4", 2] },
    };
    graph[`o${String(n)}`] = {
      class_type: "SaveImage",
      inputs: { images: [`d${String(n)}`, 0], filename_prefix: "x" },
    };
  }
  findCheckpointSites(graph, sha256, ALWAYS);
  const begun = performance.now();
  expect(findCheckpointSites(graph, sha256, ALWAYS)).toHaveLength(CHECKPOINT_SITES_MAX);
  expect(performance.now() - begun).toBeLessThan(100);
});
