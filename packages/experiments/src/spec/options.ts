/** What a dimension may be, as a list: written out, counted, or stacks of LoRAs. */
import type { DimensionSpec, Lora, LoraStack, Scalar } from "./model.ts";

/** One choice of a dimension. */
export interface Option {
  /** Of a stack: as it is told, `InkWash@0.5+FilmGrain@0.3`. */
  readonly value: Scalar;
  readonly stack?: LoraStack;
}

/** How an empty stack is told. */
const NO_LORA = "none";
const MODEL_FILE = /\.(?:safetensors|ckpt|pt|pth|bin|sft)$/i;
/** Steps that floating point left a little short of the end still reach it. */
const ROUNDING = 1e-9;
/** Most digits behind the point that `toFixed` is asked for. */
const DIGITS_MAX = 15;

/** The options of a dimension; none where it has neither values nor a range nor stacks. */
export function optionsOf({ values, min, max, step, stacks }: DimensionSpec): readonly Option[] {
  if (values !== undefined) return values.map((value) => ({ value }));
  if (stacks !== undefined) return stacks.map((stack) => stackOption(stack));
  if (min === undefined || max === undefined) return [];
  return counted(min, max, step ?? 1).map((value) => ({ value }));
}

/** How many values a range has, without making them; none where it ends before it begins. */
export function countedLength(min: number, max: number, step: number): number {
  return Math.max(0, Math.floor((max - min) / step + ROUNDING) + 1);
}

/** A stack as one choice. */
export function stackOption(stack: LoraStack): Option {
  const value = stack.length === 0 ? NO_LORA : stack.map((lora) => loraText(lora)).join("+");
  return { value, stack };
}

/** The file that a LoraLoader is told. */
export function loraFile({ name, file }: Lora): string {
  return file ?? (MODEL_FILE.test(name) ? name : `${name}.safetensors`);
}

/** `InkWash@0.5`, and `InkWash@0.5/0.3` where the text encoder has a weight of its own. */
function loraText({ name, weight, clipWeight }: Lora): string {
  const both = clipWeight === undefined || clipWeight === weight;
  return `${name.replace(MODEL_FILE, "")}@${weight}${both ? "" : `/${clipWeight}`}`;
}

/** 5, 5.5, 6 … without the dust of binary fractions (0.30000000000000004). */
function counted(min: number, max: number, step: number): readonly number[] {
  const digits = Math.min(DIGITS_MAX, Math.max(digitsOf(min), digitsOf(step)));
  return Array.from({ length: countedLength(min, max, step) }, (_, index) =>
    Number((min + index * step).toFixed(digits)),
  );
}

function digitsOf(value: number): number {
  const [mantissa = "", exponent = "0"] = String(value).split("e");
  const fraction = mantissa.split(".")[1]?.length ?? 0;
  return Math.max(0, fraction - Number(exponent));
}
