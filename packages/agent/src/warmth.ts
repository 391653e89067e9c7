import { graphNeeds, type Graph } from "@holdfast/comfyui/protocol";

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

/** The models that a graph loads, as one text. */
export function modelsOf(graph: Readonly<Record<string, unknown>>): string {
  const { models } = graphNeeds(graph as Graph);
  return models.map(({ folder, name }) => `${folder}/${name}`).join("\n");
}
