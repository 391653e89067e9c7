/** A dimension that is called `seed` is the seed of its runs. */
import type { Finding, YamlPath } from "@holdfast/yaml-file";
import type { LoraStack, Scalar } from "./model.ts";
import { shown } from "./name-words.ts";
import type { SoundParts } from "./sound-parts.ts";

/** Values of `seed` that are none: those of the dimension, or those that the runs of a list bring. */
export function seedRules({ dimensions, mode, runs }: SoundParts): readonly Finding[] {
  const seed = dimensions.find(({ name }) => name === "seed");
  if (seed === undefined) return [];
  const { part, spec, isShort, options } = seed;
  const listed = mode === "list" && options.length === 0 ? runs : [];
  return [
    ...options.flatMap(({ value }, index) => {
      const within = isShort ? [index] : spec.values === undefined ? [] : ["values", index];
      return seedProblem([part, "seed", ...within], value);
    }),
    ...listed.flatMap(({ index, members }) =>
      members.flatMap(([name, value]) =>
        name === "seed" ? seedProblem(["runs", index, name], value) : [],
      ),
    ),
  ];
}

function seedProblem(path: YamlPath, value: Scalar | LoraStack): readonly Finding[] {
  // A stack is refused by the rule for those.
  if (Array.isArray(value)) return [];
  const given = value as Scalar;
  const isSeed =
    (typeof given === "number" && Number.isInteger(given) && given >= 0) ||
    (typeof given === "string" && /^\d{1,20}$/.test(given));
  if (isSeed) return [];
  const message = `expected a whole number, 0 or more: it is the runs' seed, found ${shown(given)}`;
  return [{ path, message }];
}
