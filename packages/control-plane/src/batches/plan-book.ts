/**
 * From a request to a book as it is written down. What is wrong with the book refuses all of it; what
 * is wrong with one page stays with that page, and the rest is rendered. Pure.
 */
import { MAX_PAGES, type CreateBatch } from "@holdfast/contract";
import { findFieldProblem, type PlanningFacts, type Refusal } from "../jobs/submission.ts";
import { createGraphs, readCommon } from "./book-graphs.ts";
import { createBookWarnings } from "./book-warnings.ts";
import { createBudget, type PlacedPage, type Planning } from "./finish-page.ts";
import { planList } from "./plan-list.ts";
import { planTable } from "./plan-table.ts";
import type { PlannedBook } from "./planned-book.ts";
import { isStorable, refuseBook, UNSTORABLE } from "./refuse-book.ts";

/** What planning a book came to. */
export type BookPlanning = { readonly kind: "planned"; readonly book: PlannedBook } | Refusal;

/** Plans a book. */
export function planBook(request: CreateBatch, facts: PlanningFacts): BookPlanning {
  const problem = findBookProblem(request);
  if (problem !== undefined) return problem;
  const graphs = createGraphs(facts);
  const common = readCommon(request, graphs, facts);
  if (common?.kind === "refused") return common;
  const warnings = createBookWarnings();
  const planning: Planning = { graphs, warnings, facts, budget: createBudget() };
  const pages =
    request.table === undefined
      ? planList(request, common, planning)
      : planTable(request, request.table, common, planning);
  if ("kind" in pages) return pages;
  const double = findDuplicates(pages);
  if (double !== undefined) return double;
  return {
    kind: "planned",
    book: {
      graphs: graphs.list(),
      pages: pages.map(({ planned: page }) => page).toSorted((a, b) => a.page - b.page),
      warnings: warnings.toList(),
    },
  };
}

function findBookProblem(request: CreateBatch): Refusal | undefined {
  const { pages, table, graph, bind } = request;
  const problem = findFieldProblem({
    ...(request.name !== undefined && { name: request.name }),
    ...(request.tags !== undefined && { tags: request.tags }),
    ...(request.set !== undefined && { set: request.set }),
    ...(request.metadata !== undefined && { metadata: request.metadata }),
  });
  if (problem !== undefined) return problem;
  if (!isStorable(request.set)) {
    return refuseBook("set", `set ${UNSTORABLE}`);
  }
  if (pages !== undefined && table !== undefined) {
    return refuseBook("pages", "expected pages or a table, found both; make it one of them");
  }
  if (pages === undefined && table === undefined) {
    return refuseBook(
      "pages",
      "expected pages (a list) or a table with a row a page, found neither",
    );
  }
  if (table !== undefined && graph === undefined) {
    return refuseBook(
      "graph",
      "expected a graph beside the table: the template that its rows fill",
    );
  }
  if (bind !== undefined && table === undefined) {
    return refuseBook("bind", "bind is for the columns of a table, and there is none");
  }
  if (pages?.length === 0)
    return refuseBook("pages", "pages is empty; a book has at least one page");
  if (pages !== undefined && pages.length > MAX_PAGES) {
    return refuseBook("pages", `a book has at most ${MAX_PAGES} pages, found ${pages.length}`);
  }
  return undefined;
}

/** Page numbers that a message names. */
const DUPLICATES_NAMED = 10;

function findDuplicates(pages: readonly PlacedPage[]): Refusal | undefined {
  const seen = new Map<number, string>();
  const double: { readonly page: number; readonly where: string; readonly first: string }[] = [];
  for (const { where, planned } of pages) {
    const first = seen.get(planned.page);
    if (first === undefined) seen.set(planned.page, where);
    else double.push({ page: planned.page, where, first });
  }
  if (double.length === 0) return undefined;
  const named = double
    .slice(0, DUPLICATES_NAMED)
    .map(({ page, where, first }) => `${page} (${first} and ${where})`);
  const more = double.length > named.length ? `, … (${double.length} in all)` : "";
  return refuseBook("pages", `page numbers stand twice: ${named.join(", ")}${more}`, {
    pages: [...new Set(double.map(({ page }) => page))].slice(0, DUPLICATES_NAMED),
  });
}
