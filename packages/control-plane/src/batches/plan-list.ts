/** A book whose pages are given one by one, each with a graph of its own or the book's. Pure. */
import type { CreateBatch, NewPage } from "@holdfast/contract";
import { invariant } from "@holdfast/runtime";
import { findFieldProblem, type Refusal } from "../jobs/submission.ts";
import { unnameableText, type Common } from "./book-graphs.ts";
import { pagesText } from "./book-warnings.ts";
import { findOverspent, finishPage, type PlacedPage, type Planning } from "./finish-page.ts";
import type { PageWish } from "./page-values.ts";
import type { PlannedPage } from "./planned-book.ts";
import { isStorable, refuseBook, UNSTORABLE } from "./refuse-book.ts";
import { readSet } from "./set-values.ts";

/** Page numbers in the details of a refusal. */
const PAGES_TOLD = 10;

/** Plans the pages of a list, in its order. */
export function planList(
  request: CreateBatch,
  common: Common | undefined,
  planning: Planning,
): PlacedPage[] | Refusal {
  const given = request.pages ?? [];
  const bare = given.flatMap((page, index) =>
    page.graph === undefined && common === undefined ? [page.page ?? index + 1] : [],
  );
  if (bare.length > 0) {
    return refuseBook(
      "graph",
      `${pagesText(bare)}: no graph; give one to the book, or one to each of its pages`,
      { pages: bare.slice(0, PAGES_TOLD) },
    );
  }
  const pages: PlacedPage[] = [];
  for (const [index, page] of given.entries()) {
    const number = page.page ?? index + 1;
    const planned = planListed(page, number, request, common, planning);
    if ("kind" in planned) return planned;
    pages.push({ where: `pages[${index}]`, planned });
  }
  return pages;
}

function planListed(
  given: NewPage,
  page: number,
  request: CreateBatch,
  common: Common | undefined,
  planning: Planning,
): PlannedPage | Refusal {
  const where = `page ${page}`;
  const problem =
    findFieldProblem({
      ...(given.name !== undefined && { name: given.name }),
      ...(given.set !== undefined && { set: given.set }),
      ...(given.metadata !== undefined && { metadata: given.metadata }),
    }) ?? findUnstorable(given);
  if (problem !== undefined) return { ...problem, message: `${where}: ${problem.message}` };
  const graph = given.graph === undefined ? common?.graph : planning.graphs.add(given.graph);
  invariant(graph !== undefined, "a page has a graph of its own, or its book has one");
  const shared = { page, name: given.name ?? null, metadata: given.metadata ?? {} };
  if (graph.kind === "bad") {
    const set = { ...request.set, ...given.set };
    const overspent = findOverspent(set, "pages", planning.budget);
    const { graphNo, trouble } = graph;
    const planned = { ...shared, graphNo: graphNo(), set, variables: new Map(), trouble };
    return overspent ?? planned;
  }
  const { places, graphNo } = graph;
  if (places.unnameable !== undefined) {
    return refuseBook("pages", `${where}: ${unnameableText(places.unnameable)}`);
  }
  const base = graph === common?.graph ? common.set : readSet(places, request.set);
  const own = readSet(places, given.set);
  const wish: PageWish = {
    variables: new Map([...base.variables, ...own.variables]),
    direct: new Map([...base.direct, ...own.direct]),
    prompt: given.prompt,
    seed: given.seed,
  };
  const trouble = base.trouble ?? own.trouble;
  const filled = finishPage(places, { page, where, wish, trouble, field: "pages" }, planning);
  return "kind" in filled ? filled : { ...shared, graphNo: graphNo(), ...filled };
}

function findUnstorable(given: NewPage): Refusal | undefined {
  for (const field of ["graph", "set", "prompt"] as const) {
    if (!isStorable(given[field])) {
      return refuseBook(`pages.${field}`, `${field} ${UNSTORABLE}`);
    }
  }
  return undefined;
}
