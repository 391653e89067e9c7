/** The graph of a job that brings none: text to image, on a checkpoint model that is there. Pure. */
import type { Graph } from "@holdfast/comfyui/protocol";
import { familyOfName, type ModelFamily } from "@holdfast/recovery";

/** As in `examples/sd15-text-to-image.json`; a test holds the two together. */
export const BUILT_IN_GRAPH: Graph = {
  "3": {
    class_type: "KSampler",
    inputs: {
      seed: 156680208700286,
      steps: 20,
      cfg: 8,
      sampler_name: "euler",
      scheduler: "normal",
      denoise: 1,
      model: ["4", 0],
      positive: ["6", 0],
      negative: ["7", 0],
      latent_image: ["5", 0],
    },
    _meta: { title: "KSampler" },
  },
  "4": {
    class_type: "CheckpointLoaderSimple",
    inputs: { ckpt_name: "v1-5-pruned-emaonly.safetensors" },
    _meta: { title: "Load Checkpoint" },
  },
  "5": {
    class_type: "EmptyLatentImage",
    inputs: { width: 512, height: 512, batch_size: 1 },
    _meta: { title: "Empty Latent Image" },
  },
  "6": {
    class_type: "CLIPTextEncode",
    inputs: {
      text: "beautiful scenery nature glass bottle landscape, purple galaxy bottle",
      clip: ["4", 1],
    },
    _meta: { title: "Positive prompt" },
  },
  "7": {
    class_type: "CLIPTextEncode",
    inputs: { text: "text, watermark", clip: ["4", 1] },
    _meta: { title: "Negative prompt" },
  },
  "8": {
    class_type: "VAEDecode",
    inputs: { samples: ["3", 0], vae: ["4", 2] },
    _meta: { title: "VAE Decode" },
  },
  "9": {
    class_type: "SaveImage",
    inputs: { filename_prefix: "sd15", images: ["8", 0] },
    _meta: { title: "Save Image" },
  },
};

/**
 * Families that this graph suits, the best first, with the side of the pictures they were made for.
 * `null` is a name that says nothing: most such files are of the first family.
 */
const SUITS: readonly (readonly [ModelFamily | null, number])[] = [
  ["sd1", 512],
  ["sdxl", 1024],
  [null, 512],
  ["sd2", 768],
  ["sd3", 1024],
  ["flux", 1024],
];
/** Files that want more than a text: an inpainting model, a refiner. */
const WANTS_MORE = /inpaint|refiner|instruct.?pix/i;

/** The built-in graph on the best of these checkpoints, with a seed; undefined when none suits. */
export function builtInGraph(checkpoints: readonly string[], seed: number): Graph | undefined {
  const usable = checkpoints.filter((name) => !WANTS_MORE.test(name)).sort();
  for (const [family, side] of SUITS) {
    const model = usable.find((name) => familyOfName(name) === family);
    if (model !== undefined) return builtInGraphOn(model, side, seed);
  }
  return undefined;
}

/** The built-in graph on a model that the caller named, whether or not it is known. */
export function builtInGraphOnNamed(model: string, seed: number): Graph {
  const family = familyOfName(model);
  const side = SUITS.find(([suited]) => suited === family)?.[1] ?? 512;
  return builtInGraphOn(model, side, seed);
}

function builtInGraphOn(model: string, side: number, seed: number): Graph {
  const graph = structuredClone(BUILT_IN_GRAPH) as Record<string, Graph[string]>;
  const put = (nodeId: string, inputs: Readonly<Record<string, unknown>>): void => {
    const node = graph[nodeId];
    if (node !== undefined) graph[nodeId] = { ...node, inputs: { ...node.inputs, ...inputs } };
  };
  put("3", { seed });
  put("4", { ckpt_name: model });
  put("5", { width: side, height: side });
  put("9", { filename_prefix: "holdfast" });
  return graph;
}
