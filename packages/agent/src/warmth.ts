import { extractVariables, graphNeeds, type Graph } from "@holdfast/comfyui/protocol";

/**
 * Which models the process of an instance has in memory, as far as our own prompts tell: those of the
 * last one that came through. Somebody else's prompt in between may have driven them out.
 */
export interface Warmth {
  /** A prompt with these models begins: whether the last one came through with the same. */
  begin(models: string): boolean;
  /** A prompt with these models came to an end by itself. */
  end(models: string): void;
  /** The process is another one, its memory was freed, or nobody knows. */
  forget(): void;
}

/** Makes a {@link Warmth} that knows of nothing. */
export function createWarmth(): Warmth {
  let last: { readonly models: string; isThrough: boolean } | undefined;
  return {
    begin(models) {
      const isWarm = last !== undefined && last.isThrough && last.models === models;
      last = { models, isThrough: false };
      return isWarm;
    },
    end(models) {
      if (last?.models === models) last.isThrough = true;
    },
    forget() {
      last = undefined;
    },
  };
}

/** Files of models, whatever node names them. */
const MODEL_FILE = /\.(?:bin|ckpt|engine|gguf|onnx|pt|pth|safetensors|sft)$/i;
/** Custom loaders name a repository or a preset, in inputs of their own. */
const LOADER = /load/i;

/** The models that a graph loads, as one text; rather one too many than one too few. */
export function modelsOf(graph: Readonly<Record<string, unknown>>): string {
  const { models } = graphNeeds(graph as Graph);
  const names = new Set(models.map(({ folder, name }) => `${folder}/${name}`));
  // Prompts and pictures of the caller are not in the template.
  for (const { class_type: nodeClass, inputs } of nodesOf(graph)) {
    for (const value of Object.values(inputs)) {
      if (typeof value !== "string") continue;
      if (LOADER.test(nodeClass) || MODEL_FILE.test(value)) names.add(`${nodeClass}: ${value}`);
    }
  }
  return [...names].sort().join("\n");
}

function nodesOf(graph: Readonly<Record<string, unknown>>) {
  return Object.values(extractVariables(graph as Graph).template);
}
