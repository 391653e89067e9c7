/** What every page of a book goes through, whatever its values come from. Pure. */
import { MAX_OVERRIDES } from "../jobs/model.ts";
import type { PlanningFacts, Refusal } from "../jobs/submission.ts";
import type { Graphs } from "./book-graphs.ts";
import type { BookWarnings } from "./book-warnings.ts";
import { fillPage, type PageWish } from "./page-values.ts";
import type { PageTrouble, PlannedPage } from "./planned-book.ts";
import { isStorable, refuseBook, UNSTORABLE } from "./refuse-book.ts";
import { findFormTrouble } from "./set-values.ts";
import type { TemplatePlaces } from "./template-places.ts";

/** Most characters of JSON that the values of all pages come to. */
const MAX_BOOK_LENGTH = 128 * 1024 * 1024;

/** A page, and what its writer calls it. */
export interface PlacedPage {
  readonly where: string;
  readonly planned: PlannedPage;
}

/** What the planning of a book shares among its pages. */
export interface Planning {
  readonly graphs: Graphs;
  readonly warnings: BookWarnings;
  readonly facts: PlanningFacts;
  readonly budget: Budget;
}

/** A page that is being put together. */
export interface PageUnderWay {
  readonly page: number;
  /** How messages name it. */
  readonly where: string;
  readonly wish: PageWish;
  readonly trouble: PageTrouble | null;
  readonly field: "pages" | "table";
}

/** Fills a page's graph, and looks at what came of it. */
export function finishPage(
  places: TemplatePlaces,
  { page, where, wish, trouble, field }: PageUnderWay,
  { warnings, budget, facts }: Planning,
): Pick<PlannedPage, "set" | "variables" | "trouble"> | Refusal {
  const filled = fillPage(places, wish);
  if (filled.kind === "missing") {
    const { variable, at } = filled;
    const how =
      field === "table" ? 'an empty text is written ""' : `set gives it one: {"${variable}": …}`;
    return refuseBook(field, `${where}: no value for {{${variable}}} of ${at}; ${how}`, {
      page,
      missing: variable,
    });
  }
  if (filled.kind === "too_large") {
    const message = `${where}: its values may come to more than ${filled.maxLength} characters`;
    return refuseBook(field, message, { page });
  }
  for (const warning of filled.warnings) warnings.add(warning, warning, page);
  if (filled.set.size > MAX_OVERRIDES) {
    const message = `${where}: it sets ${filled.set.size} inputs; at most ${MAX_OVERRIDES} are taken`;
    return refuseBook(field, message, { page });
  }
  const { variables } = filled;
  const set = Object.fromEntries(filled.set);
  if (!isStorable(set) || !isStorable([...variables])) {
    return refuseBook(field, `${where}: a value ${UNSTORABLE}`, { page });
  }
  return (
    findOverspent({ set, variables: [...variables] }, field, budget) ?? {
      set,
      variables,
      trouble: trouble ?? findFormTrouble(places, filled.set, facts.limits),
    }
  );
}

/** Spends what a page's values need; a refusal when that is too much for a book. */
export function findOverspent(
  values: Readonly<Record<string, unknown>>,
  field: "pages" | "table",
  budget: Budget,
): Refusal | undefined {
  if (budget.spend(JSON.stringify(values).length)) return undefined;
  return refuseBook(
    field,
    `the values of all pages come to more than ${MAX_BOOK_LENGTH} characters; make it several books`,
  );
}

/** How many characters the values of a book have come to. */
export interface Budget {
  /** False when that was too much. */
  spend(length: number): boolean;
}

/** Makes one that is not spent. */
export function createBudget(): Budget {
  let spent = 0;
  return {
    spend(length) {
      spent += length;
      return spent <= MAX_BOOK_LENGTH;
    },
  };
}
