/** What books need of planning: pure functions, asked before anything is written. */
import type { CreateBatch, RegeneratePage } from "@holdfast/contract";
import type { Refusal } from "../jobs/submission.ts";
import type { PlannedBook, PlannedPage } from "./planned-book.ts";

/** What a caller changes about one page. */
export type PageChange = Readonly<Pick<RegeneratePage, "set" | "prompt" | "seed">>;

/** A page as it is stored, for a plan of its next version. */
export interface PlannedBefore extends Pick<PlannedPage, "set" | "variables"> {
  readonly graph: unknown;
}

/** The next version of a page: all its values come together. */
export interface PlannedVersion extends Pick<PlannedPage, "set" | "variables"> {
  readonly kind: "planned";
  readonly warnings: readonly string[];
}

/** See the members. */
export interface BookPlanning {
  /** `allowedClasses`: node classes that the caller's graphs may use; null allows all. */
  readonly book: (
    request: CreateBatch,
    allowedClasses: readonly string[] | null,
  ) => { readonly kind: "planned"; readonly book: PlannedBook } | Refusal;
  readonly page: (before: PlannedBefore, change: PageChange) => PlannedVersion | Refusal;
}
