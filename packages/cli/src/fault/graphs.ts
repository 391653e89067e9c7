import type { Graph, GraphNode } from "@holdfast/comfyui/protocol";

const COLOURS = 0x1000000;
/** Apart from each other, so that no two jobs of a run render the same. */
const COLOUR_STEP = 7_919;

/** One picture without a model, after a node that sleeps: of the simulator, and of our pack. */
export function sleepingGraph(index: number, seconds: number): Graph {
  return {
    "1": emptyImage(index),
    "2": { class_type: "HoldfastSleep", inputs: { image: ["1", 0], seconds, poll: true } },
    "3": save(["2", 0]),
  };
}

/** The same for a ComfyUI that has no nodes but its own: work of the processor takes the time. */
export function blurredGraph(index: number, blurs: number): Graph {
  const graph: Record<string, GraphNode> = {
    "1": emptyImage(index),
    "2": {
      class_type: "ImageScale",
      inputs: {
        image: ["1", 0],
        upscale_method: "bilinear",
        width: 1_024,
        height: 1_024,
        crop: "disabled",
      },
    },
  };
  let last = "2";
  for (let blur = 0; blur < blurs; blur += 1) {
    const id = String(10 + blur);
    const inputs = { image: [last, 0], blur_radius: 15, sigma: 5 };
    graph[id] = { class_type: "ImageBlur", inputs };
    last = id;
  }
  graph["3"] = save([last, 0]);
  return graph;
}

/** A picture by a checkpoint; `model` is one of the simulator's. */
export function sampledGraph(index: number, model: string): Graph {
  return {
    "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: model } },
    "2": { class_type: "CLIPTextEncode", inputs: { clip: ["1", 1], text: `a castle ${index}` } },
    "3": { class_type: "CLIPTextEncode", inputs: { clip: ["1", 1], text: "blurry" } },
    "4": { class_type: "EmptyLatentImage", inputs: { width: 512, height: 512, batch_size: 1 } },
    "5": {
      class_type: "KSampler",
      inputs: {
        model: ["1", 0],
        positive: ["2", 0],
        negative: ["3", 0],
        latent_image: ["4", 0],
        seed: 1_000 + index,
        steps: 8,
        cfg: 7,
        sampler_name: "euler",
        scheduler: "normal",
        denoise: 1,
      },
    },
    "6": { class_type: "VAEDecode", inputs: { samples: ["5", 0], vae: ["1", 2] } },
    "7": save(["6", 0]),
  };
}

/** A graph as somebody sends who has made a mistake: a picture of no width. Only nodes that all have. */
export function malformedGraph(index: number): Graph {
  const empty = emptyImage(index);
  return {
    "1": { ...empty, inputs: { ...empty.inputs, width: 0 } },
    "3": save(["1", 0]),
  };
}

/** The same result without the wait. */
export function withoutSleep(graph: Graph): Graph {
  return Object.fromEntries(
    Object.entries(graph).map(([id, node]) => [
      id,
      node.class_type === "HoldfastSleep"
        ? { ...node, inputs: { ...node.inputs, seconds: 0 } }
        : node,
    ]),
  );
}

function emptyImage(index: number) {
  const color = (index * COLOUR_STEP + 1) % COLOURS;
  return { class_type: "EmptyImage", inputs: { width: 64, height: 64, batch_size: 1, color } };
}

function save(images: readonly [string, number]) {
  return { class_type: "SaveImage", inputs: { images: [...images], filename_prefix: "fault" } };
}
