/** A page that is made anew with other values. Pure. */
import { parseGraph, type GraphLimits } from "@holdfast/comfyui/protocol";
import type { RegeneratePage } from "@holdfast/contract";
import { MAX_OVERRIDES } from "../jobs/model.ts";
import { explainMiss } from "../jobs/overrides.ts";
import { findFieldProblem, refuse, type Refusal } from "../jobs/submission.ts";
import { isFilledBy, readFilled } from "./filled-text.ts";
import { fillPage, marksOf } from "./page-values.ts";
import type { PageTrouble } from "./planned-book.ts";
import { isStorable, refuseBook, UNSTORABLE } from "./refuse-book.ts";
import { findFormTrouble, readSet, toTrouble } from "./set-values.ts";
import {
  findPlaces,
  type TemplateInput,
  type TemplatePlaces,
  type VariableValue,
} from "./template-places.ts";

/** What planning a page anew came to. */
export type PagePlanning =
  | {
      readonly kind: "planned";
      /** All values of the page, the former ones that stay included. */
      readonly set: Readonly<Record<string, unknown>>;
      readonly warnings: readonly string[];
    }
  | Refusal;

/**
 * Puts other values into a page: `set` are the ones that it has. A prompt for a text that holds other
 * variables beside `{{prompt}}` needs their values: they are read from the text as it was filled.
 */
export function planPage(
  graph: unknown,
  set: Readonly<Record<string, unknown>>,
  changes: Pick<RegeneratePage, "set" | "prompt" | "seed">,
  limits?: GraphLimits,
): PagePlanning {
  const problem = findChangeProblem(changes);
  if (problem !== undefined) return problem;
  const parsed = parseGraph(graph, limits);
  if (parsed.kind === "refused") {
    return toRefusal(toTrouble(parsed.code, parsed.message, parsed.details));
  }
  const places = findPlaces(parsed.graph);
  const wanted = readSet(places, changes.set);
  if (wanted.trouble !== null) return toRefusal(wanted.trouble);
  const changed = new Map([...wanted.variables, ...marksOf(places, changes)]);
  const touched = [...places.inputs.values()].filter((input) =>
    input.variables.some((name) => changed.has(name)),
  );
  const former = Object.entries(set).filter(([name]) => places.has(name));
  const kept = new Map(former);
  for (const { name } of touched) kept.delete(name);
  const filled = fillPage(places, {
    variables: new Map([...knownValues(places, set, touched, changed), ...changed]),
    direct: new Map([...kept, ...wanted.direct]),
    prompt: changes.prompt,
    seed: changes.seed,
  });
  if (filled.kind === "missing") return refuseMissing(filled.variable, filled.at, places);
  if (filled.kind === "too_large" || filled.set.size > MAX_OVERRIDES) {
    return refuseBook("set", "the values come to more than one page may have; leave some out");
  }
  const trouble = findFormTrouble(places, filled.set, limits);
  if (trouble !== null) return toRefusal(trouble);
  const misplaced = Object.keys(set).filter((name) => !places.has(name));
  return {
    kind: "planned",
    set: Object.fromEntries(filled.set),
    warnings: [...misplaced.map((name) => leftOutText(places, name)), ...filled.warnings],
  };
}

function findChangeProblem(changes: Parameters<typeof planPage>[2]): Refusal | undefined {
  const { set, prompt } = changes;
  if (!isStorable(set)) return refuseBook("set", `set ${UNSTORABLE}`);
  if (!isStorable(prompt)) return refuseBook("prompt", `prompt ${UNSTORABLE}`);
  return set === undefined ? undefined : findFieldProblem({ set });
}

/** A value that never fitted kept the page from being rendered; anew it may be without it. */
function leftOutText(places: TemplatePlaces, name: string): string {
  return `${name.slice(0, 80)}: ${explainMiss(places.graph, name)}; it is left out now`;
}

function toRefusal({ code, message, details }: PageTrouble): Refusal {
  return refuse(code, message, details);
}

/** The values of variables that stand beside changed ones, as far as they are certain. */
function knownValues(
  places: TemplatePlaces,
  set: Readonly<Record<string, unknown>>,
  touched: readonly TemplateInput[],
  changed: ReadonlyMap<string, VariableValue>,
): ReadonlyMap<string, VariableValue> {
  const known = new Map<string, VariableValue>();
  // Those that stand alone first: they part the texts in which they stand with others.
  const inputs = [...places.inputs.values()]
    .filter(({ name }) => Object.hasOwn(set, name))
    .toSorted(
      (a, b) => Number(b.isAlone) - Number(a.isAlone) || a.variables.length - b.variables.length,
    );
  for (const input of inputs) {
    if (input.variables.every((name) => known.has(name))) continue;
    for (const [name, value] of readFilled(input, set[input.name], known) ?? []) {
      if (!known.has(name)) known.set(name, { within: value, alone: value });
    }
  }
  // An input may hold what somebody put there whole: what it says of a variable counts for no other.
  const unchanged = new Map([...known].filter(([name]) => !changed.has(name)));
  for (const input of touched) {
    if (!Object.hasOwn(set, input.name) || isFilledBy(input, set[input.name], unchanged)) continue;
    for (const name of input.variables) unchanged.delete(name);
  }
  return unchanged;
}

function refuseMissing(variable: string, at: string, places: TemplatePlaces): Refusal {
  const beside = (places.inputs.get(at)?.variables ?? []).filter((name) => name !== variable);
  const why = beside.length === 0 ? "" : `, which stands there beside {{${beside.join("}}, {{")}}}`;
  return refuseBook(
    "set",
    `no value for {{${variable}}} of ${at}${why}; give it one in set, as {"${variable}": …}, or the whole input as {"${at}": …}`,
    { missing: variable },
  );
}
