/** An experiment as people write it. Rules between its keys are in `spec/rules.ts`. */
import { z } from "zod";

/** Most runs of one experiment. */
export const RUNS_MAX = 1_000_000;
/** Most values of a dimension, written out or counted by `step`. */
export const VALUES_MAX = 1_000;
/** Most dimensions, and most fragments. */
const DIMENSIONS_MAX = 50;
/** Most constraints, and most conditions of one. */
const CONSTRAINTS_MAX = 500;
/** Most runs that are written out. */
const LISTED_RUNS_MAX = 10_000;
/** Most LoRAs of a stack, and most nodes that take them. */
const STACK_MAX = 20;
/** Longest text of a value. */
const TEXT_MAX = 10_000;
/** Largest weight: sums of them stay exact enough. */
const WEIGHT_MAX = 1_000_000;

/** How dimensions become runs. */
export type ExperimentMode = z.infer<typeof modeSchema>;
/** A value of a dimension. */
export type Scalar = z.infer<typeof scalarSchema>;
/** One LoRA of a stack. */
export type Lora = z.infer<typeof loraSchema>;
/** LoRAs in the order in which nodes take them. */
export type LoraStack = z.infer<typeof stackSchema>;
/** A dimension, in the long form. */
export type DimensionSpec = z.infer<typeof dimensionMapping>;
/** A prompt fragment, in the long form. */
export type FragmentSpec = z.infer<typeof fragmentMapping>;
/** A whole experiment. */
export type ExperimentSpec = z.infer<typeof experimentSchema>;

/** A name of a dimension or fragment, which `{{name}}` in the graph may call. */
export const NAME_PATTERN = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/;
const name = z
  .string()
  .regex(
    NAME_PATTERN,
    "expected 1 to 64 characters of A-Z, a-z, 0-9, '_' and '-', beginning with a letter",
  );
const experimentName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$/,
    "expected 1 to 80 characters of A-Z, a-z, 0-9, '.', '_' and '-', beginning with a letter or digit",
  );
const heading = z
  .string()
  .regex(
    /^[A-Za-z][A-Za-z0-9 _-]{0,39}$/,
    "expected 1 to 40 characters of A-Z, a-z, 0-9, ' ', '_' and '-', beginning with a letter",
  );
const text = z.string().min(1).max(TEXT_MAX);
const pattern = z.string().min(1).max(200);

const number = z
  .number()
  .refine(
    (value) => !Number.isInteger(value) || Number.isSafeInteger(value),
    "expected a number that JSON carries exactly (up to 9007199254740991); put a larger one in quotes",
  );
const modeSchema = z.enum(["grid", "random", "list"]);
const scalarSchema = z.union([z.string().max(TEXT_MAX), number, z.boolean()]);
const valuesSchema = z.array(scalarSchema).min(1).max(VALUES_MAX);
const weightsSchema = z.array(z.number().positive().max(WEIGHT_MAX)).min(1).max(VALUES_MAX);

const loraSchema = z.strictObject({
  name: text.describe("What it is called. Its file is `NAME.safetensors`, unless `file` is there."),
  weight: z.number().min(-100).max(100).default(1).describe("`strength_model`."),
  clipWeight: z
    .number()
    .min(-100)
    .max(100)
    .optional()
    .describe("`strength_clip`; without it the weight."),
  file: text.optional().describe("File in ComfyUI's folder of LoRAs: `style/InkWash.safetensors`."),
});
const stackSchema = z.array(loraSchema).max(STACK_MAX);

const weights = weightsSchema
  .optional()
  .describe("How often each value is chosen in `mode: random`, in the order of the values.");
const as = heading
  .optional()
  .describe(
    "Line of the output that tells its value: `Subject`, `Setting`, `Tech`, `LoRAs`, or another. " +
      "Without it `LoRAs` for stacks, `Subject` for texts, `Tech` for numbers.",
  );
const label = pattern
  .optional()
  .describe("How its value is told there: `s={value}`. `{value}` and `{name}` may stand in it.");

const dimensionMapping = z.strictObject({
  values: valuesSchema.optional().describe("What it may be."),
  min: number.optional().describe("Instead of `values`: the first number."),
  max: number.optional().describe("… and the last, where a step ends on it."),
  step: z.number().positive().optional().describe("… and what lies between two; without it 1."),
  stacks: z
    .array(stackSchema)
    .min(1)
    .max(VALUES_MAX)
    .optional()
    .describe("Instead of `values`: stacks of LoRAs, `[]` for none."),
  nodes: z
    .array(z.union([text, z.int().min(0)]))
    .min(1)
    .max(STACK_MAX)
    .optional()
    .describe("LoraLoader nodes that take a stack, in order; those left over are bypassed."),
  weights,
  input: z
    .union([text, z.array(text).min(1).max(100)])
    .optional()
    .describe("Input of the graph that it sets, `node.input`, or a list of them."),
  as,
  label,
});
const fragmentMapping = z.strictObject({
  values: valuesSchema.describe("What it may be."),
  weights,
  as: heading.optional().describe("Line of the output that tells it; without it none does."),
  label,
});

const conditionSchema = z.union([scalarSchema, z.array(scalarSchema).min(1).max(VALUES_MAX)]);
const constraintSchema = z
  .record(name, conditionSchema)
  .refine(
    (one) => Object.keys(one).length > 0,
    "expected a mapping of dimensions to values, found an empty one, which would leave out every run",
  );
const listedRunSchema = z.record(name, z.union([scalarSchema, stackSchema]));

/** One dimension, short or long. */
export const dimensionSchema = z.union([valuesSchema, dimensionMapping]);
/** One fragment, short or long. */
export const fragmentSchema = z.union([valuesSchema, fragmentMapping]);
/** A condition a dimension: what matches all of them is left out. */
export const constraintsSchema = z.array(constraintSchema).max(CONSTRAINTS_MAX);
/** The runs of `mode: list`. */
export const listedRunsSchema = z.array(listedRunSchema).min(1).max(LISTED_RUNS_MAX);

const atMost = <Value extends z.ZodType>(value: Value) =>
  z
    .record(name, value)
    .refine(
      (one) => Object.keys(one).length <= DIMENSIONS_MAX,
      `expected at most ${DIMENSIONS_MAX} names`,
    );

/** Schema of the file. */
export const experimentSchema = z.strictObject({
  name: experimentName.describe("Its name, also in MLflow and of its folder."),
  workflow: text
    .max(1_024)
    .optional()
    .describe("File with the graph in ComfyUI's API format, as seen from this file."),
  graph: z
    .record(z.string(), z.looseObject({}))
    .optional()
    .describe("Instead of `workflow`: the graph itself."),
  seed: z
    .int()
    .min(0)
    .default(0)
    .describe("Where chance begins: of `mode: random`, and of the runs' own seeds."),
  mode: modeSchema
    .default("grid")
    .describe(
      "`grid`: every combination once, the last dimension fastest. `random`: each value by its weight. " +
        "`list`: the `runs`.",
    ),
  dimensions: atMost(dimensionSchema)
    .default({})
    .describe("What differs between runs. A list is short for `values`."),
  fragments: atMost(fragmentSchema)
    .default({})
    .describe("Parts of prompts, chosen like a dimension, for `{{name}}` in the graph's texts."),
  constraints: constraintsSchema
    .default([])
    .describe(
      "Runs to leave out: those that have all values of an entry. A list of values means any of them.",
    ),
  runs: listedRunsSchema
    .optional()
    .describe("Of `mode: list`: a value for each dimension, in every run."),
  title: pattern
    .optional()
    .describe(
      "What stands behind `exp_0099:`, with `{name}` for a dimension's value; without it the first two.",
    ),
});
