import type { VALIDATION_TYPES } from "./rejection.ts";

/** One thing that ComfyUI would object to, by its own type and in better words. */
export interface ValidationIssue {
  readonly type: (typeof VALIDATION_TYPES)[number];
  /** Undefined when it concerns the whole graph. */
  readonly nodeId: string | undefined;
  readonly classType: string | undefined;
  readonly input: string | undefined;
  readonly message: string;
  readonly received?: unknown;
  /** Up to 20 valid values, the most similar first. */
  readonly validValues?: readonly unknown[];
  /** The folder of models that the input chooses from, when it is one. */
  readonly modelFolder?: string;
  /**
   * Whether ComfyUI is sure to object. Otherwise the node may have rules of its own that
   * `/object_info` does not show (`VALIDATE_INPUTS`, types that match any other): only warn.
   */
  readonly isCertain: boolean;
  /** The outputs that ComfyUI would drop; when these are all of them, it refuses the graph (F2). */
  readonly dependentOutputs: readonly string[];
}
