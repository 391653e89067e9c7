/** Rules between the keys of an experiment. They look at what is sound of it, whatever else is wrong. */
import { joinFindings, type Finding, type Findings, type YamlPath } from "@holdfast/yaml-file";
import { choiceRules } from "./choice-rules.ts";
import { VALUES_MAX } from "./model.ts";
import { nearWords, shown } from "./name-words.ts";
import { countedLength } from "./options.ts";
import { placeholdersIn } from "./placeholders.ts";
import { seedRules } from "./seed-rules.ts";
import type { SoundDimension, SoundParts } from "./sound-parts.ts";

/** Names that every run has by itself: its number, and `exp_0042`. `seed` may be a dimension. */
const OWN_NAMES: ReadonlySet<string> = new Set(["index", "run"]);

/** Everything that contradicts something else. */
export function experimentRules(parts: SoundParts): Findings {
  const problems = [
    ...sourceRules(parts),
    ...nameRules(parts),
    ...titleRules(parts),
    ...parts.dimensions.flatMap((one) => [
      ...kindRules(one, parts),
      ...rangeRules(one),
      ...stackRules(one, parts),
      ...weightRules(one),
      ...doubleValues(one),
      ...labelRules(one),
    ]),
    ...seedRules(parts),
    ...sharedNodes(parts),
  ];
  return joinFindings([
    { problems, warnings: parts.dimensions.flatMap((one) => idleWeights(one, parts)) },
    choiceRules(parts),
  ]);
}

function sourceRules({ written: { workflow, graph } }: SoundParts): readonly Finding[] {
  if (workflow === undefined && graph === undefined) {
    const message = "missing: expected `workflow`, the file with the graph, or `graph`, the graph";
    return [{ path: ["workflow"], message }];
  }
  if (workflow === undefined || graph === undefined) return [];
  return [{ path: ["graph"], message: "there is a `workflow` as well: remove one of them" }];
}

function nameRules({ dimensions }: SoundParts): readonly Finding[] {
  const first = new Set(dimensions.flatMap((one) => (one.part === "dimensions" ? [one.name] : [])));
  return dimensions.flatMap((one): readonly Finding[] => {
    if (OWN_NAMES.has(one.name)) {
      const message = `expected another name: every run has \`${one.name}\` by itself`;
      return [{ path: [one.part, one.name], message }];
    }
    if (one.name === "__proto__") {
      // zod leaves it out of every record without a word.
      const message = 'expected another name: "__proto__" is not taken';
      return [{ path: [one.part, one.name], message }];
    }
    if (one.part === "dimensions" || !first.has(one.name)) return [];
    return [{ path: [one.part, one.name], message: "is a dimension already: take another name" }];
  });
}

function titleRules({ written: { title }, names }: SoundParts): readonly Finding[] {
  if (typeof title !== "string") return [];
  const known = [...names, "seed", ...OWN_NAMES];
  return placeholdersIn(title)
    .filter((name) => !known.includes(name))
    .map((name) => ({
      path: ["title"],
      message: `there is no dimension ${shown(name)}; ${nearWords(name, known)}`,
    }));
}

/** What a dimension consists of: values, or a range, or stacks. */
function kindRules({ name, part, spec }: SoundDimension, { mode }: SoundParts): readonly Finding[] {
  const path = [part, name];
  const isRange = ["min", "max", "step"].filter((key) => Object.hasOwn(spec, key));
  const kinds = [
    ...(spec.values === undefined ? [] : ["values"]),
    ...isRange.slice(0, 1),
    ...(spec.stacks === undefined ? [] : ["stacks"]),
  ];
  if (kinds.length === 0 && mode !== "list") {
    const message = "expected `values`, or `min` and `max`, or `stacks`, found none of them";
    return [{ path, message }];
  }
  if (kinds.length > 1) {
    const [kept, ...others] = kinds;
    return others.map((key) => ({
      path: [...path, key],
      message: `there is \`${kept}\` as well: remove one of them`,
    }));
  }
  if (isRange.length === 0) return [];
  return ["min", "max"]
    .filter((key) => !Object.hasOwn(spec, key))
    .map((key) => ({ path: [...path, key], message: "missing: a range has `min` and `max`" }));
}

function rangeRules({ name, part, spec }: SoundDimension): readonly Finding[] {
  const { min, max, step = 1 } = spec;
  if (min === undefined || max === undefined) return [];
  if (min > max) {
    const message = `expected at most \`max\` (${max}), found ${min}`;
    return [{ path: [part, name, "min"], message }];
  }
  const length = countedLength(min, max, step);
  if (length <= VALUES_MAX) return [];
  const message = `expected at most ${VALUES_MAX} values, found ${length}: take a larger \`step\``;
  return [{ path: [part, name, spec.step === undefined ? "max" : "step"], message }];
}

function stackRules(
  { name, part, spec }: SoundDimension,
  { mode }: SoundParts,
): readonly Finding[] {
  const { stacks, nodes, input } = spec;
  const path = [part, name];
  if (stacks === undefined) {
    // The runs of a list may bring their own.
    if (nodes === undefined || mode === "list") return [];
    return [{ path: [...path, "nodes"], message: "is for `stacks` of LoRAs, and there are none" }];
  }
  const takesNoInput: readonly Finding[] =
    input === undefined
      ? []
      : [{ path: [...path, "input"], message: "stacks go into `nodes`: remove the input" }];
  if (nodes === undefined) {
    const message = "missing: expected the LoraLoader nodes of the graph that take the stacks";
    return [{ path: [...path, "nodes"], message }, ...takesNoInput];
  }
  const tooLong = stacks.flatMap((stack, index): readonly Finding[] => {
    if (stack.length <= nodes.length) return [];
    const message = `expected at most ${nodes.length} LoRAs, one for each of \`nodes\`, found ${stack.length}`;
    return [{ path: [...path, "stacks", index], message }];
  });
  return [...takesNoInput, ...tooLong];
}

function weightRules({ name, part, spec, options }: SoundDimension): readonly Finding[] {
  const { weights } = spec;
  if (weights === undefined || options.length === 0 || weights.length === options.length) return [];
  const message = `expected ${options.length} weights, one for each value, found ${weights.length}`;
  return [{ path: [part, name, "weights"], message }];
}

function idleWeights(
  { name, part, spec }: SoundDimension,
  { mode }: SoundParts,
): readonly Finding[] {
  if (spec.weights === undefined || mode === "random") return [];
  const message = `weights are for \`mode: random\`; \`mode: ${mode}\` does not look at them`;
  return [{ path: [part, name, "weights"], message }];
}

function doubleValues({ name, part, spec, isShort, options }: SoundDimension): readonly Finding[] {
  const seen = new Set<unknown>();
  const key = spec.stacks === undefined ? "values" : "stacks";
  return options.flatMap(({ value }, index): readonly Finding[] => {
    if (!seen.has(value)) {
      seen.add(value);
      return [];
    }
    const path: YamlPath = isShort ? [part, name, index] : [part, name, key, index];
    return [{ path, message: `${shown(value)} is there already: give it a weight instead` }];
  });
}

function labelRules({ name, part, spec: { label } }: SoundDimension): readonly Finding[] {
  if (label === undefined) return [];
  const known = ["value", "name"];
  return placeholdersIn(label)
    .filter((one) => !known.includes(one))
    .map((one) => ({
      path: [part, name, "label"],
      message: `a label has \`{value}\` and \`{name}\`, found \`{${one}}\``,
    }));
}

function sharedNodes({ dimensions }: SoundParts): readonly Finding[] {
  const owner = new Map<string, string>();
  return dimensions.flatMap(({ name, part, spec: { nodes = [] } }) =>
    nodes.flatMap((node, index): readonly Finding[] => {
      const id = String(node);
      const first = owner.get(id);
      if (first === undefined) {
        owner.set(id, name);
        return [];
      }
      const message = `node ${shown(id)} is among those of ${shown(first)} already`;
      return [{ path: [part, name, "nodes", index], message }];
    }),
  );
}
