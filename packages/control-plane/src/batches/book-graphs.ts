/** The graphs of a book: each looked over once, however many pages share it. Pure. */
import { parseGraph } from "@holdfast/comfyui/protocol";
import type { CreateBatch } from "@holdfast/contract";
import { planSubmission, type PlanningFacts, type Refusal } from "../jobs/submission.ts";
import type { PageTrouble } from "./planned-book.ts";
import { isStorable, refuseBook, refuseFor, UNSTORABLE } from "./refuse-book.ts";
import { readSet, toTrouble, type SetValues } from "./set-values.ts";
import { findPlaces, type TemplatePlaces } from "./template-places.ts";

/** A graph of the book: looked over, or the reason why no job can be made of it. */
export type BookGraph = {
  /** Its place in the book's list, which it gets when a page is made of it for the first time. */
  readonly graphNo: () => number;
} & (
  | { readonly kind: "places"; readonly places: TemplatePlaces }
  | { readonly kind: "bad"; readonly trouble: PageTrouble }
);

/** The graph that the pages share, and the values that all of them have. */
export interface Common {
  readonly kind: "common";
  readonly graph: Extract<BookGraph, { kind: "places" }>;
  readonly set: SetValues;
}

/** The graphs of a book, each once. */
export interface Graphs {
  add(graph: unknown): BookGraph;
  /** Those that pages are made of. */
  list(): readonly unknown[];
}

/** Makes it, without a graph in it. */
export function createGraphs({ sha256, limits }: PlanningFacts): Graphs {
  const list: unknown[] = [];
  const known = new Map<string, BookGraph>();
  return {
    list: () => list,
    add(graph) {
      // By the exact text: nodes in another order, or with other titles, are another graph.
      const key = sha256(JSON.stringify(graph));
      const found = known.get(key);
      if (found !== undefined) return found;
      let place: number | undefined;
      const graphNo = (): number => (place ??= list.push(graph) - 1);
      const parsed = parseGraph(graph, limits);
      const added: BookGraph =
        parsed.kind === "graph"
          ? { kind: "places", graphNo, places: findPlaces(parsed.graph) }
          : {
              kind: "bad",
              graphNo,
              trouble: toTrouble(parsed.code, parsed.message, parsed.details),
            };
      known.set(key, added);
      return added;
    },
  };
}

/** What is wrong with the graph that all pages share is wrong with the book. */
export function readCommon(
  request: CreateBatch,
  graphs: Graphs,
  facts: PlanningFacts,
): Common | Refusal | undefined {
  if (request.graph === undefined) return undefined;
  if (!isStorable(request.graph)) {
    return refuseBook("graph", `graph ${UNSTORABLE}`);
  }
  const graph = graphs.add(request.graph);
  if (graph.kind === "bad") return refuseFor(graph.trouble);
  const { unnameable } = graph.places;
  if (unnameable !== undefined) return refuseBook("graph", unnameableText(unnameable));
  const set = readSet(graph.places, request.set);
  if (set.trouble !== null) return refuseFor(set.trouble);
  const checked = planSubmission(
    { graph: request.graph, set: Object.fromEntries(set.direct) },
    facts,
  );
  return checked.kind === "refused" ? checked : { kind: "common", graph, set };
}

/** Why a graph takes no values: what to call one of its inputs means another one. */
export function unnameableText(name: string): string {
  return `the variable of ${name} has a place that node.input does not name, for another node's input has the same name; rename one of the nodes`;
}
