/**
 * The parts of a written experiment whose own shape is right, so that a wrong type in one place does
 * not hide a wrong name in another.
 */
import type { z } from "zod";
import {
  constraintsSchema,
  dimensionSchema,
  fragmentSchema,
  listedRunsSchema,
  type DimensionSpec,
  type ExperimentMode,
  type FragmentSpec,
  type LoraStack,
  type Scalar,
} from "./model.ts";
import { countedLength, optionsOf, type Option } from "./options.ts";

/** A dimension or fragment, in the long form. */
export interface SoundDimension {
  readonly name: string;
  readonly part: "dimensions" | "fragments";
  readonly spec: DimensionSpec;
  /** Whether it is written as a list: then its values stand right below its name. */
  readonly isShort: boolean;
  /** Of a range that is too long, none. */
  readonly options: readonly Option[];
}

/** What rules look at. */
export interface SoundParts {
  readonly written: Readonly<Record<string, unknown>>;
  readonly mode: ExperimentMode;
  /** Dimensions, then fragments. */
  readonly dimensions: readonly SoundDimension[];
  /** All names that stand there, those of parts that are wrong too. */
  readonly names: readonly string[];
  readonly constraints: readonly Entry<Scalar | readonly Scalar[]>[];
  readonly runs: readonly Entry<Scalar | LoraStack>[];
}

/** One entry of a list of mappings. */
export interface Entry<Value> {
  readonly index: number;
  readonly members: readonly (readonly [name: string, value: Value])[];
}

/** Takes what is right of a mapping that may be wrong anywhere. */
export function soundParts(
  written: Readonly<Record<string, unknown>>,
  lengthMax: number,
): SoundParts {
  const { mode, dimensions, fragments, constraints, runs } = written;
  const part = (
    of: unknown,
    name: SoundDimension["part"],
    schema: z.ZodType<readonly Scalar[] | DimensionSpec | FragmentSpec>,
  ): readonly SoundDimension[] =>
    Object.entries(mapping(of)).flatMap(([key, value]) => {
      const parsed = schema.safeParse(value);
      return parsed.success ? [toSound(key, name, parsed.data, lengthMax)] : [];
    });
  return {
    written,
    mode: mode === "random" || mode === "list" ? mode : "grid",
    dimensions: [
      ...part(dimensions, "dimensions", dimensionSchema),
      ...part(fragments, "fragments", fragmentSchema),
    ],
    names: [...Object.keys(mapping(dimensions)), ...Object.keys(mapping(fragments))],
    constraints: entries(constraints, constraintsSchema.element),
    runs: entries(runs, listedRunsSchema.element),
  };
}

function toSound(
  name: string,
  part: SoundDimension["part"],
  value: readonly Scalar[] | DimensionSpec | FragmentSpec,
  lengthMax: number,
): SoundDimension {
  if (Array.isArray(value)) {
    const spec = { values: [...(value as readonly Scalar[])] };
    return { name, part, spec, isShort: true, options: optionsOf(spec) };
  }
  const spec = value as DimensionSpec;
  const { min, max, step = 1 } = spec;
  const isTooLong =
    min !== undefined && max !== undefined && countedLength(min, max, step) > lengthMax;
  return { name, part, spec, isShort: false, options: isTooLong ? [] : optionsOf(spec) };
}

function entries<Value>(
  list: unknown,
  schema: z.ZodType<Readonly<Record<string, Value>>>,
): readonly Entry<Value>[] {
  if (!Array.isArray(list)) return [];
  return list.flatMap((one: unknown, index) => {
    const parsed = schema.safeParse(one);
    return parsed.success ? [{ index, members: Object.entries(parsed.data) }] : [];
  });
}

function mapping(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}
