/** Rules about what is chosen: constraints, and the runs of `mode: list`. */
import { joinFindings, type Finding, type Findings, type YamlPath } from "@holdfast/yaml-file";
import type { LoraStack, Scalar } from "./model.ts";
import { nearWords, shown } from "./name-words.ts";
import type { SoundDimension, SoundParts } from "./sound-parts.ts";

/** What constraints and runs call and is not there. */
export function choiceRules(parts: SoundParts): Findings {
  return joinFindings([
    { problems: constraintProblems(parts), warnings: [] },
    { problems: runProblems(parts), warnings: [] },
  ]);
}

function constraintProblems(parts: SoundParts): readonly Finding[] {
  return parts.constraints.flatMap(({ index, members }) =>
    members.flatMap(([name, wanted]) => {
      const path: YamlPath = ["constraints", index, name];
      if (Array.isArray(wanted)) {
        return (wanted as readonly Scalar[]).flatMap((value, place) =>
          unknownChoice(name, value, [...path, place], path, parts),
        );
      }
      return unknownChoice(name, wanted as Scalar, path, path, parts);
    }),
  );
}

function runProblems(parts: SoundParts): readonly Finding[] {
  const { mode, written, runs } = parts;
  if (mode !== "list") {
    if (written["runs"] === undefined) return [];
    const message = `runs are for \`mode: list\`, and this is \`mode: ${mode}\``;
    return [{ path: ["runs"], message }];
  }
  if (written["runs"] === undefined) {
    return [{ path: ["runs"], message: "missing: `mode: list` has its runs written out" }];
  }
  return runs.flatMap(({ index, members }) => [
    ...members.flatMap(([name, value]) => {
      const path: YamlPath = ["runs", index, name];
      return Array.isArray(value)
        ? stackProblems(name, value, path, parts)
        : unknownChoice(name, value, path, path, parts);
    }),
    ...missingChoices(
      index,
      members.map(([name]) => name),
      parts,
    ),
  ]);
}

function unknownChoice(
  name: string,
  value: Scalar,
  path: YamlPath,
  namePath: YamlPath,
  parts: SoundParts,
): readonly Finding[] {
  if (!parts.names.includes(name)) {
    const message = `there is no dimension ${shown(name)}; ${nearWords(name, parts.names)}`;
    return [{ path: namePath, message }];
  }
  const dimension = parts.dimensions.find((one) => one.name === name);
  const values = dimension?.options.map((option) => option.value) ?? [];
  if (values.length === 0 && dimension?.spec.nodes !== undefined) {
    const message = `expected a list of LoRAs for ${shown(name)}, found ${shown(value)}`;
    return [{ path, message }];
  }
  // One without values of its own takes any, which `mode: list` allows.
  if (values.length === 0 || values.includes(value)) return [];
  return [
    {
      path,
      message: `${shown(name)} is never ${shown(value)}; ${nearWords(String(value), values)}`,
    },
  ];
}

/** A stack that a run brings itself. */
function stackProblems(
  name: string,
  stack: LoraStack,
  path: YamlPath,
  parts: SoundParts,
): readonly Finding[] {
  if (!parts.names.includes(name)) {
    const message = `there is no dimension ${shown(name)}; ${nearWords(name, parts.names)}`;
    return [{ path, message }];
  }
  const nodes = parts.dimensions.find((one) => one.name === name)?.spec.nodes;
  if (nodes === undefined) {
    return [{ path, message: `expected one value: ${shown(name)} has no \`nodes\` for LoRAs` }];
  }
  if (stack.length <= nodes.length) return [];
  const message = `expected at most ${nodes.length} LoRAs, one for each of its \`nodes\`, found ${stack.length}`;
  return [{ path, message }];
}

/** A run says everything, but for what can only be one thing. */
function missingChoices(
  index: number,
  given: readonly string[],
  { dimensions }: SoundParts,
): readonly Finding[] {
  const isOpen = ({ name, options }: SoundDimension): boolean =>
    options.length !== 1 && !given.includes(name);
  return dimensions
    .filter((one) => isOpen(one))
    .map(({ name }) => ({
      path: ["runs", index, name],
      message: "missing: a run has a value for each dimension that is not always the same",
    }));
}
