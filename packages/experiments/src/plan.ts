import type { Graph } from "@holdfast/comfyui/protocol";
import { assertNever } from "@holdfast/runtime";
import type { Option } from "./spec/options.ts";
import type { Combinations, Draws } from "./expansion/combinations.ts";

/** An input of a graph's node. */
export interface GraphInput {
  readonly nodeId: string;
  readonly input: string;
}

/** A dimension or fragment that can be put into the graph. */
export interface PlannedDimension {
  readonly name: string;
  readonly options: readonly Option[];
  /** Set to its value, beside `{{name}}`. */
  readonly inputs: readonly GraphInput[];
  /** LoraLoader nodes, in the order in which a stack fills them. */
  readonly loraNodes: readonly string[];
  /** Line of the output that tells it; null for none. */
  readonly heading: string | null;
  /** `s={value}` */
  readonly label: string;
}

/** Where the choices of a run come from. */
export type RunSource =
  | { readonly kind: "grid"; readonly combinations: Combinations }
  | { readonly kind: "random"; readonly draws: Draws }
  /** The choices of each run, in the order of the dimensions. */
  | { readonly kind: "list"; readonly runs: readonly (readonly Option[])[] };

/** Runs before anything is repeated with other seeds; null for chance, which has no end. */
export function roundLength(source: RunSource): number | null {
  switch (source.kind) {
    case "grid":
      return source.combinations.mass;
    case "list":
      return source.runs.length;
    case "random":
      return null;
    default:
      return assertNever(source);
  }
}

/** An experiment with its graph: everything that its runs come from. */
export interface ExperimentPlan {
  readonly name: string;
  readonly seed: number;
  /** `{setting}_{lens}` */
  readonly title: string;
  readonly graph: Graph;
  /** Fragments among them. */
  readonly dimensions: readonly PlannedDimension[];
  readonly source: RunSource;
  /** Inputs that get the run's own seed. */
  readonly seedInputs: readonly GraphInput[];
}
