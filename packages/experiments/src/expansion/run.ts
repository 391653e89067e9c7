import type { InputValue, TemplateValue } from "@holdfast/comfyui/protocol";
import type { LoraStack, Scalar } from "../spec/model.ts";

/** One run of an experiment: what is chosen, what that does to the graph, and how it is told. */
export interface ExperimentRun {
  /** From 0. */
  readonly index: number;
  /** `exp_0099` */
  readonly name: string;
  /** What stands behind the name. */
  readonly title: string;
  /** Text where it has more digits than a number carries. */
  readonly seed: number | string;
  /** How often everything was chosen before: a grid that is repeated has other seeds, nothing else. */
  readonly round: number;
  /** By dimension; of a stack as it is told. */
  readonly values: Readonly<Record<string, Scalar>>;
  /** What `{{name}}` becomes in the graph. */
  readonly variables: Readonly<Record<string, TemplateValue>>;
  /** Inputs of nodes. */
  readonly set: readonly InputValue[];
  readonly loras: readonly LoraFill[];
  /** `Subject: knight silver_armour` */
  readonly lines: readonly string[];
}

/** A stack, and the nodes that take it. */
export interface LoraFill {
  readonly nodes: readonly string[];
  readonly stack: LoraStack;
}

const NAME_DIGITS = 4;

/** `exp_0099`, wider past 9999. */
export function runName(index: number): string {
  return `exp_${String(index).padStart(NAME_DIGITS, "0")}`;
}
