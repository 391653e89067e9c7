/** What `docs/experiment-yaml.md` is made of. */
import { schemaReference, schemaTree, type SchemaKey } from "@holdfast/yaml-file";
import { experimentSchema } from "./model.ts";

/** Every key of an experiment in the order of its schema, parents before what is in them. */
export function experimentReference(): readonly SchemaKey[] {
  return schemaReference(schemaTree(experimentSchema));
}

/** A whole file, to begin with; its graph is {@link EXPERIMENT_EXAMPLE_GRAPH}. */
export const EXPERIMENT_EXAMPLE = `# 250 of these: holdfast experiment run castle.yaml --count 250 --pre-flight
name: castle
workflow: workflow.json # beside this file, in ComfyUI's API format
seed: 42
mode: random
dimensions:
  subject: { values: [knight, wizard], as: Subject, weights: [3, 1] }
  armour: [silver_armour, rusty] # {{armour}} in a text of the graph
  setting: { values: [cliff_dusk, castle, harbour], as: Setting }
  lens: { values: [wide, close], as: Setting }
  sampler: { values: [euler, dpmpp_2m], input: 3.sampler_name, as: Tech }
  steps: { values: [20, 40, 80], input: 3.steps, as: Tech, label: "s={value}" }
  cfg: { min: 5, max: 9, step: 0.5, input: 3.cfg }
  scheduler: { values: [karras, normal], input: 3.scheduler, as: Tech, label: "sched={value}" }
  loras:
    stacks:
      - [{ name: InkWash, weight: 0.5 }, { name: FilmGrain, weight: 0.3 }]
      - [{ name: InkWash, weight: 0.8, clipWeight: 0.6 }]
      - [] # none: both nodes are bypassed
    nodes: ["10", "11"]
fragments:
  mood: [misty, golden hour]
constraints: # left out
  - { subject: wizard, armour: silver_armour }
  - { steps: 80, cfg: [8, 8.5, 9] }
title: "{setting}_{lens}"
`;

/** The graph of the example, in ComfyUI's API format. */
export const EXPERIMENT_EXAMPLE_GRAPH = {
  "3": {
    class_type: "KSampler",
    inputs: {
      seed: 0,
      steps: 20,
      cfg: 7.5,
      sampler_name: "euler",
      scheduler: "normal",
      denoise: 1,
      model: ["11", 0],
      positive: ["6", 0],
      negative: ["7", 0],
      latent_image: ["5", 0],
    },
  },
  "4": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "sd15.safetensors" } },
  "5": { class_type: "EmptyLatentImage", inputs: { width: 768, height: 512, batch_size: 1 } },
  "6": {
    class_type: "CLIPTextEncode",
    inputs: {
      text: "{{mood}}, {{subject}} in {{armour}}, {{setting}}, {{lens}} shot",
      clip: ["11", 1],
    },
  },
  "7": { class_type: "CLIPTextEncode", inputs: { text: "blurry", clip: ["11", 1] } },
  "8": { class_type: "VAEDecode", inputs: { samples: ["3", 0], vae: ["4", 2] } },
  "9": { class_type: "SaveImage", inputs: { filename_prefix: "castle/{{run}}", images: ["8", 0] } },
  "10": {
    class_type: "LoraLoader",
    inputs: {
      lora_name: "any.safetensors",
      strength_model: 1,
      strength_clip: 1,
      model: ["4", 0],
      clip: ["4", 1],
    },
  },
  "11": {
    class_type: "LoraLoader",
    inputs: {
      lora_name: "any.safetensors",
      strength_model: 1,
      strength_clip: 1,
      model: ["10", 0],
      clip: ["10", 1],
    },
  },
} as const;
