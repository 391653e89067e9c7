/** Where an experiment's choices come from: its values, weights and constraints, without the graph. */
import { seededRandom } from "@holdfast/runtime";
import type { Finding } from "@holdfast/yaml-file";
import { createCombinations, type Exclusion } from "../expansion/combinations.ts";
import { createFreeDraws } from "../expansion/free-draws.ts";
import type { RunSource } from "../plan.ts";
import type { ExperimentMode, ExperimentSpec, LoraStack, Scalar } from "./model.ts";
import { stackOption, type Option } from "./options.ts";
import type { SoundDimension } from "./sound-parts.ts";

/** Where the choices of an experiment come from, or why nothing can be chosen. */
export type SourcePlan =
  | { readonly kind: "ok"; readonly source: RunSource }
  | { readonly kind: "invalid"; readonly problem: Finding };

type Constraints = ExperimentSpec["constraints"];

/** Plans the choices of an experiment whose rules are kept. */
export function planSource(
  spec: ExperimentSpec,
  dimensions: readonly SoundDimension[],
): SourcePlan {
  const { mode, constraints } = spec;
  if (mode === "list") return planList(spec, dimensions);
  const size = dimensions.reduce((product, one) => product * one.options.length, 1);
  if (mode === "grid" && size > Number.MAX_SAFE_INTEGER) {
    return invalid(
      ["dimensions"],
      `expected a grid of at most ${Number.MAX_SAFE_INTEGER} combinations, found about ` +
        `${size.toExponential(1)}: take \`mode: random\``,
    );
  }
  const weights = dimensions.map((one) => weightsOf(one, mode));
  const exclusions = toExclusions(constraints, dimensions);
  const combinations = createCombinations(weights, exclusions);
  if (combinations === undefined) {
    // A grid has to be counted; chance can be drawn again.
    const draws =
      mode === "random" ? createFreeDraws(weights, exclusions, seededRandom(spec.seed)) : undefined;
    if (draws !== undefined) return { kind: "ok", source: { kind: "random", draws } };
    return invalid(["constraints"], TOO_ENTANGLED);
  }
  if (combinations.mass === 0) return invalid(["constraints"], NOTHING_LEFT);
  return {
    kind: "ok",
    source: mode === "grid" ? { kind: mode, combinations } : { kind: mode, draws: combinations },
  };
}

const TOO_ENTANGLED =
  "there are too many that depend on each other to count what they leave: take fewer, or " +
  "`mode: random` where most is left";
const NOTHING_LEFT = "they leave out every run: remove one, or add values";

function planList(spec: ExperimentSpec, dimensions: readonly SoundDimension[]): SourcePlan {
  const runs = (spec.runs ?? [])
    .map((run) => dimensions.map((one) => listedOption(run, one)))
    .filter((choices) => !spec.constraints.some((one) => isExcluded(choices, one, dimensions)));
  if (runs.length === 0) return invalid(["constraints"], NOTHING_LEFT);
  return { kind: "ok", source: { kind: "list", runs } };
}

function invalid(path: readonly string[], message: string): SourcePlan {
  return { kind: "invalid", problem: { path, message } };
}

/** Shares of 1, so that no product of many weights grows beyond a number. */
function weightsOf({ spec, options }: SoundDimension, mode: ExperimentMode): readonly number[] {
  if (mode === "grid") return options.map(() => 1);
  const weights = spec.weights ?? options.map(() => 1);
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

function toExclusions(
  constraints: Constraints,
  dimensions: readonly SoundDimension[],
): readonly Exclusion[] {
  return constraints.map(
    (constraint) =>
      new Map(
        dimensions.flatMap(({ name, options }, index) => {
          const wanted = wantedOf(constraint, name);
          if (wanted === undefined) return [];
          const numbers = options.flatMap(({ value }, option) =>
            wanted.includes(value) ? [option] : [],
          );
          return [[index, new Set(numbers)] as const];
        }),
      ),
  );
}

function isExcluded(
  choices: readonly Option[],
  constraint: Constraints[number],
  dimensions: readonly SoundDimension[],
): boolean {
  return dimensions.every(({ name }, index) => {
    const value = choices[index]?.value;
    return value === undefined || (wantedOf(constraint, name)?.includes(value) ?? true);
  });
}

function wantedOf(constraint: Constraints[number], name: string): readonly Scalar[] | undefined {
  if (!Object.hasOwn(constraint, name)) return undefined;
  const wanted = constraint[name];
  return Array.isArray(wanted) ? wanted : [wanted as Scalar];
}

function listedOption(
  run: Readonly<Record<string, Scalar | LoraStack>>,
  { name, options }: SoundDimension,
): Option {
  const written = Object.hasOwn(run, name) ? run[name] : undefined;
  if (Array.isArray(written)) return stackOption(written);
  const value = written;
  const known = value === undefined ? options[0] : options.find((one) => one.value === value);
  return known ?? { value: value ?? "" };
}
