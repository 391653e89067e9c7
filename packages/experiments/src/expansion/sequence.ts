/** The runs of an experiment in their order: the same plan gives the same ones for ever. */
import { assertNever, invariant } from "@holdfast/runtime";
import type { InputValue } from "@holdfast/comfyui/protocol";
import type { ExperimentPlan, PlannedDimension } from "../plan.ts";
import { roundLength } from "../plan.ts";
import { RUNS_MAX, type Scalar } from "../spec/model.ts";
import type { Option } from "../spec/options.ts";
import { filledPattern } from "../spec/placeholders.ts";
import { runRandom } from "./run-random.ts";
import { runName, type ExperimentRun } from "./run.ts";
import { headingLines, oneLine, TITLE_MAX } from "./heading-lines.ts";

/** Runs by their number. Nothing is kept of them, so 100,000 take the memory of one. */
export interface ExperimentSequence {
  readonly count: number;
  /** Runs before anything is repeated with other seeds; null for chance, which has no end. */
  readonly roundLength: number | null;
  /** Throws outside of 0 to `count` - 1. Costs the same at every index. */
  runAt(index: number): ExperimentRun;
  /** All from an index on. */
  runs(from?: number): Generator<ExperimentRun, void, void>;
}

/** What a run's chance is for: choices and seeds must not depend on each other. */
const PURPOSE = { choice: 0, seed: 1 } as const;
/** A JSON number carries seeds up to here exactly; ComfyUI takes up to 2^64. */
const SEEDS = 2 ** 53;

/** The first `count` runs: 1 to `RUNS_MAX`. */
export function experimentSequence(plan: ExperimentPlan, count: number): ExperimentSequence {
  invariant(
    Number.isInteger(count) && count >= 1 && count <= RUNS_MAX,
    `an experiment of ${count} runs`,
  );
  const length = roundLength(plan.source);
  const runAt = (index: number): ExperimentRun => {
    invariant(
      Number.isInteger(index) && index >= 0 && index < count,
      `no run ${index} of ${count}`,
    );
    return toRun(plan, index, length === null ? 0 : Math.floor(index / length));
  };
  return {
    count,
    roundLength: length,
    runAt,
    *runs(from = 0) {
      for (let index = from; index < count; index += 1) yield runAt(index);
    },
  };
}

function toRun(plan: ExperimentPlan, index: number, round: number): ExperimentRun {
  const { dimensions } = plan;
  const choices = choicesAt(plan, index);
  const values = Object.fromEntries(
    dimensions.map(({ name }, at): [string, Scalar] => [name, choices[at]?.value ?? ""]),
  );
  const seed = seedAt(plan, index, values);
  const name = runName(index);
  const variables = { ...values, seed, index, run: name };
  return {
    index,
    name,
    title: titleAt(plan.title, variables),
    seed,
    round,
    values,
    variables,
    set: [...seedValues(plan, seed), ...setValues(dimensions, choices)],
    loras: dimensions.flatMap(({ loraNodes }, at) => {
      const stack = choices[at]?.stack;
      return stack === undefined ? [] : [{ nodes: loraNodes, stack }];
    }),
    lines: headingLines(dimensions, choices),
  };
}

function choicesAt({ source, dimensions, seed }: ExperimentPlan, index: number): readonly Option[] {
  const chosen = (numbers: readonly number[]): readonly Option[] =>
    dimensions.map(({ options }, at) => {
      const option = options[numbers[at] ?? -1];
      invariant(option !== undefined, "a choice that the dimension does not have");
      return option;
    });
  switch (source.kind) {
    case "grid":
      return chosen(source.combinations.at(index % source.combinations.mass));
    case "random":
      return chosen(source.draws.draw(runRandom(seed, index, PURPOSE.choice)));
    case "list":
      return source.runs[index % source.runs.length] ?? [];
    default:
      return assertNever(source);
  }
}

/** A dimension called `seed` is the seed; otherwise every run has one of its own. */
function seedAt(
  plan: ExperimentPlan,
  index: number,
  values: Readonly<Record<string, Scalar>>,
): number | string {
  const given = Object.hasOwn(values, "seed") ? values["seed"] : undefined;
  if (typeof given === "number" || typeof given === "string") return given;
  return Math.floor(runRandom(plan.seed, index, PURPOSE.seed).next() * SEEDS);
}

/** Before what dimensions set, so that an input of their own wins. */
function seedValues(plan: ExperimentPlan, seed: number | string): readonly InputValue[] {
  const own = new Set(
    plan.dimensions.flatMap(({ inputs }) =>
      inputs.map((one) => JSON.stringify([one.nodeId, one.input])),
    ),
  );
  return plan.seedInputs
    .filter(({ nodeId, input }) => !own.has(JSON.stringify([nodeId, input])))
    .map(({ nodeId, input }) => ({ nodeId, input, value: seed }));
}

function setValues(
  dimensions: readonly PlannedDimension[],
  choices: readonly Option[],
): readonly InputValue[] {
  return dimensions.flatMap(({ inputs }, at) =>
    inputs.map(({ nodeId, input }) => ({ nodeId, input, value: choices[at]?.value })),
  );
}

function titleAt(pattern: string, variables: Readonly<Record<string, Scalar>>): string {
  const title = filledPattern(pattern, (name) =>
    Object.hasOwn(variables, name) ? String(variables[name]) : undefined,
  );
  return oneLine(title, TITLE_MAX);
}
