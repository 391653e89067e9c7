/**
 * Graphs with `{{variables}}`: one template that a book's pages or an experiment's runs are made of.
 *
 * A variable stands in a text of a node's inputs, also in one inside a list or an object there. What
 * is put in is never looked at again: a prompt that holds `{{…}}` itself stays as its author wrote it.
 */
import { isLink, type Graph, type GraphNode } from "./graph.ts";

/** What a variable may become. No lists: one of text and number would be a link. */
export type TemplateValue = string | number | boolean;

/** A variable of a graph, and where it stands. */
export interface TemplateVariable {
  readonly name: string;
  readonly places: readonly { readonly nodeId: string; readonly input: string }[];
}

/** A graph with its values, or the variables that have none. */
export type FilledTemplate =
  | {
      readonly kind: "graph";
      readonly graph: Graph;
      /** Names of values that the graph has no place for. */
      readonly unused: readonly string[];
    }
  | { readonly kind: "missing"; readonly missing: readonly TemplateVariable[] };

/**
 * `{{name}}`, with spaces inside the braces if one likes. What is in double braces and no name stays
 * text: prompts of their own extensions have `{{a|b}|c}`.
 */
const VARIABLE = /\{\{ *([A-Za-z_][A-Za-z0-9_-]{0,63}) *\}\}/g;
const ONLY_A_VARIABLE = new RegExp(`^${VARIABLE.source}$`);

/** The variables of a graph in the order in which they are first met, each with all its places. */
export function findTemplateVariables(graph: Graph): readonly TemplateVariable[] {
  const found = new Map<string, { nodeId: string; input: string }[]>();
  for (const [nodeId, node] of Object.entries(graph)) {
    for (const [input, value] of Object.entries(node.inputs)) {
      for (const name of new Set(namesIn(value))) {
        const places = found.get(name);
        if (places === undefined) found.set(name, [{ nodeId, input }]);
        else places.push({ nodeId, input });
      }
    }
  }
  return [...found].map(([name, places]) => ({ name, places }));
}

/**
 * The graph with its variables put in. An input that is nothing but `{{steps}}` takes the value with
 * its type; inside a text the value becomes text. Own members of `values` alone count, so
 * `{{constructor}}` is missing like any other name. Nodes without variables stay the same objects.
 */
export function fillTemplate(
  graph: Graph,
  values: Readonly<Record<string, TemplateValue>>,
): FilledTemplate {
  const variables = findTemplateVariables(graph);
  const missing = variables.filter(({ name }) => !Object.hasOwn(values, name));
  if (missing.length > 0) return { kind: "missing", missing };
  const used = new Set(variables.map(({ name }) => name));
  const touched = new Set(variables.flatMap(({ places }) => places.map(({ nodeId }) => nodeId)));
  const entries = Object.entries(graph).map(([id, node]): [string, GraphNode] =>
    touched.has(id) ? [id, { ...node, inputs: filledMembers(node.inputs, values) }] : [id, node],
  );
  return {
    kind: "graph",
    graph: Object.fromEntries(entries),
    unused: Object.keys(values).filter((name) => !used.has(name)),
  };
}

function namesIn(value: unknown): readonly string[] {
  if (typeof value === "string") {
    return value.includes("{{") ? [...value.matchAll(VARIABLE)].map((match) => match[1] ?? "") : [];
  }
  if (typeof value !== "object" || value === null || isLink(value)) return [];
  return Object.values(value).flatMap((inner) => namesIn(inner));
}

type Values = Readonly<Record<string, TemplateValue>>;

function filledMembers(
  members: Readonly<Record<string, unknown>>,
  values: Values,
): Readonly<Record<string, unknown>> {
  // fromEntries defines members of its own, whatever their names.
  return Object.fromEntries(
    Object.entries(members).map(([name, value]) => [name, filled(value, values)]),
  );
}

function filled(value: unknown, values: Values): unknown {
  if (typeof value === "string") return filledText(value, values);
  if (typeof value !== "object" || value === null || isLink(value)) return value;
  if (Array.isArray(value)) return value.map((inner: unknown) => filled(inner, values));
  return filledMembers(value as Readonly<Record<string, unknown>>, values);
}

function filledText(text: string, values: Values): TemplateValue {
  const only = ONLY_A_VARIABLE.exec(text)?.[1];
  if (only !== undefined) return values[only] ?? text;
  // A function, because `$&` in a replacement text means something.
  return text.replace(VARIABLE, (written, name: string) => String(values[name] ?? written));
}
