/** A page that is made anew with other values. Pure. */
import { parseGraph, type GraphLimits } from "@holdfast/comfyui/protocol";
import type { RegeneratePage } from "@holdfast/contract";
import { MAX_OVERRIDES } from "../jobs/model.ts";
import { explainMiss } from "../jobs/overrides.ts";
import { findFieldProblem, type Refusal } from "../jobs/submission.ts";
import { fillPage, marksOf } from "./page-values.ts";
import type { PlannedPage } from "./planned-book.ts";
import { isStorable, refuseBook, refuseFor, UNSTORABLE } from "./refuse-book.ts";
import { findFormTrouble, readSet, toTrouble } from "./set-values.ts";
import { findPlaces, type TemplatePlaces } from "./template-places.ts";

/** What a caller changes about one page. */
export type PageChange = Readonly<Pick<RegeneratePage, "set" | "prompt" | "seed">>;

/** What planning a page anew came to: all its values, those of before that stay included. */
export type PagePlanning =
  | (Pick<PlannedPage, "set" | "variables"> & {
      readonly kind: "planned";
      readonly warnings: readonly string[];
    })
  | Refusal;

/**
 * Puts other values into a page. An input in which a variable changes is filled anew, also where it had
 * been given a value as a whole; what else the page has stays.
 */
export function planPage(
  before: Pick<PlannedPage, "set" | "variables"> & { readonly graph: unknown },
  changes: PageChange,
  limits?: GraphLimits,
): PagePlanning {
  const { graph, set, variables } = before;
  const problem = findChangeProblem(changes);
  if (problem !== undefined) return problem;
  const parsed = parseGraph(graph, limits);
  if (parsed.kind === "refused") {
    return refuseFor(toTrouble(parsed.code, parsed.message, parsed.details));
  }
  const places = findPlaces(parsed.graph);
  const wanted = readSet(places, changes.set);
  if (wanted.trouble !== null) return refuseFor(wanted.trouble);
  const changed = new Map([...wanted.variables, ...marksOf(places, changes)]);
  const isTouched = (name: string): boolean =>
    places.inputs.get(name)?.variables.some((variable) => changed.has(variable)) === true;
  const fitting = Object.entries(set).filter(([name]) => places.has(name));
  const filled = fillPage(places, {
    variables: new Map([...variables, ...changed]),
    direct: new Map([...fitting.filter(([name]) => !isTouched(name)), ...wanted.direct]),
    prompt: changes.prompt,
    seed: changes.seed,
  });
  if (filled.kind === "missing") return refuseMissing(filled.variable, filled.at, places);
  if (filled.kind === "too_large" || filled.set.size > MAX_OVERRIDES) {
    return refuseBook("set", "the values come to more than one page may have; leave some out");
  }
  const trouble = findFormTrouble(places, filled.set, limits);
  if (trouble !== null) return refuseFor(trouble);
  const misplaced = Object.keys(set).filter((name) => !places.has(name));
  return {
    kind: "planned",
    set: Object.fromEntries(filled.set),
    variables: filled.variables,
    warnings: [...misplaced.map((name) => leftOutText(places, name)), ...filled.warnings],
  };
}

function findChangeProblem({ set, prompt }: PageChange): Refusal | undefined {
  if (!isStorable(set)) return refuseBook("set", `set ${UNSTORABLE}`);
  if (!isStorable(prompt)) return refuseBook("prompt", `prompt ${UNSTORABLE}`);
  return set === undefined ? undefined : findFieldProblem({ set });
}

/** A value that never fitted kept the page from being rendered; anew it may be without it. */
function leftOutText(places: TemplatePlaces, name: string): string {
  return `${name.slice(0, 80)}: ${explainMiss(places.graph, name)}; it is left out now`;
}

/** Of an input that was given whole, so that a variable in it was never given a value. */
function refuseMissing(variable: string, at: string, places: TemplatePlaces): Refusal {
  const beside = (places.inputs.get(at)?.variables ?? []).filter((name) => name !== variable);
  const why = beside.length === 0 ? "" : `, which stands there beside {{${beside.join("}}, {{")}}}`;
  return refuseBook(
    "set",
    `no value for {{${variable}}} of ${at}${why}; give it one in set, as {"${variable}": …}, or the whole input as {"${at}": …}`,
    { missing: variable },
  );
}
