/** `set` of a book, a page or a regenerate: values by `node.input`, or by a variable's name. Pure. */
import { applyPatch, findInput, parseGraph, type GraphLimits } from "@holdfast/comfyui/protocol";
import type { ErrorCode } from "@holdfast/contract";
import { invariant } from "@holdfast/runtime";
import { nearestName } from "@holdfast/yaml-file";
import { explainMiss } from "../jobs/overrides.ts";
import type { VariableValue } from "./model.ts";
import type { PageTrouble } from "./planned-book.ts";
import type { TemplatePlaces } from "./template-places.ts";

/** A `set`, parted by what its names mean. */
export interface SetValues {
  readonly direct: ReadonlyMap<string, unknown>;
  readonly variables: ReadonlyMap<string, VariableValue>;
  /** The first name that fits nothing. */
  readonly trouble: PageTrouble | null;
}

/** Reads a `set` against a graph. What fits nothing is among the direct values all the same. */
export function readSet(
  places: TemplatePlaces,
  set: Readonly<Record<string, unknown>> | undefined,
): SetValues {
  const direct = new Map<string, unknown>();
  const variables = new Map<string, VariableValue>();
  let trouble: PageTrouble | null = null;
  for (const [name, value] of Object.entries(set ?? {})) {
    if (places.has(name)) {
      direct.set(name, value);
    } else if (places.variables.has(name) && isTemplateValue(value)) {
      variables.set(name, { within: value });
    } else {
      direct.set(name, value);
      trouble ??= unmatched(name, missText(places, name));
    }
  }
  return { direct, variables, trouble };
}

/** Whether a variable may become this value. */
export function isTemplateValue(value: unknown): value is string | number | boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

function unmatched(name: string, reason: string): PageTrouble {
  return { code: "override_unmatched", message: `set: ${reason}`, details: { override: name } };
}

function missText(places: TemplatePlaces, name: string): string {
  if (places.variables.has(name)) {
    return `expected a text, a number or true or false for {{${name}}}, found a list, an object or null`;
  }
  const known = [...places.variables.keys()];
  const near = nearestName(name, known);
  const meant = near === undefined ? "" : `; did you mean ${near}?`;
  return name.includes(".") || known.length === 0
    ? `${explainMiss(places.graph, name)}${meant}`
    : `"${name.slice(0, 80)}" is neither node.input nor a variable of the graph${meant}`;
}

/**
 * What is wrong with the graph when lists and objects are put into it: they may be links that lead
 * nowhere, or too deep. Plain values change no graph's form.
 */
export function findFormTrouble(
  places: TemplatePlaces,
  set: ReadonlyMap<string, unknown>,
  limits: GraphLimits | undefined,
): PageTrouble | null {
  const formed = [...set].filter(([, value]) => typeof value === "object" && value !== null);
  if (formed.length === 0) return null;
  const patch = formed.map(([name, value]) => {
    const place = findInput(places.graph, name);
    invariant(place !== undefined, "only values that have a place are looked at");
    return { ...place, value };
  });
  const parsed = parseGraph(applyPatch(places.graph, { set: patch }), limits);
  if (parsed.kind === "graph") return null;
  const { code, message, details } = parsed;
  return { ...toTrouble(code, message, details), message: `after set: ${message}` };
}

/** A graph's refusal as a page's trouble. */
export function toTrouble(
  code: ErrorCode | "graph_no_nodes",
  message: string,
  details: Readonly<Record<string, unknown>> | undefined,
): PageTrouble {
  return {
    // `graph_no_nodes` is the protocol's word for an object without a single node in it.
    code: code === "graph_no_nodes" ? "graph_bad_node" : code,
    message,
    ...(details !== undefined && { details }),
  };
}
