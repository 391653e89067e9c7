import type { Graph } from "@holdfast/comfyui/protocol";

/** One job of a scenario. */
export interface FaultJob {
  readonly index: number;
  readonly graph: Graph;
  /** `flagged`: a page that nobody can render; it must end so, and no other way. */
  readonly expected: "completed" | "flagged";
}
