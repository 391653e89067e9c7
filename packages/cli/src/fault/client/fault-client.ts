import type { Graph } from "@holdfast/comfyui/protocol";

/** What became of one render. */
export type RenderOutcome =
  /** With the hash of each picture; see `pictureHash`. */
  | { readonly kind: "completed"; readonly pictures: readonly string[] }
  | { readonly kind: "lost"; readonly why: string };

/** Something that renders graphs on one ComfyUI, as well as it can. */
export interface FaultClient {
  /** Rejects for bugs alone: what goes wrong is an outcome. Aborted, it is lost. */
  render(graph: Graph, signal: AbortSignal): Promise<RenderOutcome>;
  close(): Promise<void>;
}
