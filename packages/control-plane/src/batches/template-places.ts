/** Where values go in one graph: its variables, its inputs by name, its prompts and seeds. Pure. */
import {
  fillTemplate,
  findInput,
  findTemplateVariables,
  inputOf,
  nodeOf,
  type Graph,
  type TemplateValue,
} from "@holdfast/comfyui/protocol";
import { seedPlaces } from "@holdfast/recovery";
import { invariant } from "@holdfast/runtime";
import { placePrompt } from "../jobs/prompt-places.ts";
import { isTextInput } from "./cell-values.ts";
import type { VariableValue } from "./model.ts";

/** An input with variables in it. */
export interface TemplateInput {
  /** `node.input`. */
  readonly name: string;
  readonly input: string;
  readonly variables: readonly string[];
  /** How often variables stand in it. */
  readonly marks: number;
  /** What the graph holds there. */
  readonly written: unknown;
  /** Whether it is nothing but one variable, so that a value keeps its type. */
  readonly isAlone: boolean;
  /** Of a text, parted at its variables; null where they stand in a list or an object. */
  readonly text: TextParts | null;
}

/** A text with variables: one literal more than there are names, each name between two of them. */
export interface TextParts {
  readonly literals: readonly string[];
  readonly names: readonly string[];
}

/** What planning asks of a graph. Everything is found once, however many pages ask. */
export interface TemplatePlaces {
  readonly graph: Graph;
  /** Inputs with variables, by `node.input`. */
  readonly inputs: ReadonlyMap<string, TemplateInput>;
  /** Names of the variables, each with the inputs where it stands. */
  readonly variables: ReadonlyMap<string, readonly TemplateInput[]>;
  /** An input whose name would be read as another one's: no value can be put there. */
  readonly unnameable: string | undefined;
  /** Whether `node.input` is an input of the graph. */
  has(name: string): boolean;
  /** What stands there; undefined where there is no such input. */
  current(name: string): unknown;
  /** Inputs that a prompt goes to where no text says `{{prompt}}`. */
  prompts(): readonly string[];
  /** Inputs that a seed goes to where none is `{{seed}}`. */
  seeds(): readonly string[];
}

/** Looks a graph over. */
export function findPlaces(graph: Graph): TemplatePlaces {
  const { inputs, variables } = findInputs(graph);
  const known = new Map<string, { readonly value: unknown } | null>();
  const look = (name: string): { readonly value: unknown } | null => {
    const found = known.get(name);
    if (found !== undefined) return found;
    const place = findInput(graph, name);
    const node = place === undefined ? undefined : nodeOf(graph, place.nodeId);
    const answer =
      place === undefined || node === undefined ? null : { value: inputOf(node, place.input) };
    known.set(name, answer);
    return answer;
  };
  let prompts: readonly string[] | undefined;
  let seeds: readonly string[] | undefined;
  return {
    graph,
    inputs,
    variables,
    unnameable: findUnnameable(graph, inputs),
    has: (name) => look(name) !== null,
    current: (name) => look(name)?.value,
    prompts: () => (prompts ??= placePrompt(graph, "").map(toName)),
    seeds: () => (seeds ??= seedPlaces(graph).map(toName)),
  };
}

function toName({ nodeId, input }: { readonly nodeId: string; readonly input: string }): string {
  return `${nodeId}.${input}`;
}

function findInputs(graph: Graph): Pick<TemplatePlaces, "inputs" | "variables"> {
  const found = new Map<string, { nodeId: string; input: string; variables: string[] }>();
  const variables = findTemplateVariables(graph);
  for (const { name, places } of variables) {
    for (const place of places) {
      const known = found.get(toName(place));
      if (known === undefined) found.set(toName(place), { ...place, variables: [name] });
      else known.variables.push(name);
    }
  }
  const inputs = new Map<string, TemplateInput>();
  for (const [name, { nodeId, input, variables: its }] of found) {
    const node = nodeOf(graph, nodeId);
    invariant(node !== undefined, "a variable stands in a node of the graph");
    const written = inputOf(node, input);
    const zeros = Object.fromEntries(its.map((variable) => [variable, 0]));
    inputs.set(name, {
      name,
      input,
      variables: its,
      marks: JSON.stringify(written).split("{{").length - 1,
      written,
      isAlone: typeof fillWritten(written, zeros) === "number",
      text: typeof written === "string" ? partText(written, its) : null,
    });
  }
  const byVariable = variables.map(({ name, places }) => {
    const its = places.flatMap((place) => inputs.get(toName(place)) ?? []);
    return [name, its] as const;
  });
  return { inputs, variables: new Map(byVariable) };
}

/** A sign that no text of a graph holds: `parseGraph` refuses it. */
const MARK = "\0";

function partText(written: string, variables: readonly string[]): TextParts {
  const marks = variables.map((name) => [name, `${MARK}${name}${MARK}`] as const);
  const parts = String(fillWritten(written, Object.fromEntries(marks))).split(MARK);
  return {
    literals: parts.filter((_, index) => index % 2 === 0),
    names: parts.filter((_, index) => index % 2 === 1),
  };
}

/** Node `a` with input `b.c` and node `a.b` with input `c` have one name; it means the latter. */
function findUnnameable(
  graph: Graph,
  inputs: ReadonlyMap<string, TemplateInput>,
): string | undefined {
  for (const { name, input } of inputs.values()) {
    if (findInput(graph, name)?.input !== input) return name;
  }
  return undefined;
}

/** What stands in an input, with its variables put in. All of them must have a value. */
function fillWritten(written: unknown, values: Readonly<Record<string, TemplateValue>>): unknown {
  const filled = fillTemplate({ n: { class_type: "n", inputs: { i: written } } }, values);
  invariant(filled.kind === "graph", "every variable of an input that is filled has a value");
  return filled.graph["n"]?.inputs["i"];
}

/**
 * An input with the values of its variables; undefined when one of them has none. As `fillTemplate`
 * has it; a text is put together from its parts, for that is done for each of thousands of pages.
 */
export function fillInput(
  input: TemplateInput,
  values: ReadonlyMap<string, VariableValue>,
): { readonly value: unknown } | undefined {
  if (input.variables.some((name) => !values.has(name))) return undefined;
  const [first] = input.variables;
  if (input.isAlone && first !== undefined) {
    const value = values.get(first);
    return { value: isTextInput(input.input) ? value?.within : (value?.alone ?? value?.within) };
  }
  if (input.text !== null) {
    const { literals, names } = input.text;
    const pieces = names.map((name, index) => `${literals[index]}${values.get(name)?.within}`);
    return { value: pieces.join("") + (literals.at(-1) ?? "") };
  }
  const own = input.variables.map((name) => [name, values.get(name)?.within ?? ""] as const);
  return { value: fillWritten(input.written, Object.fromEntries(own)) };
}
