/** What books need of planning: pure functions, asked before anything is written. */
import type { CreateBatch } from "@holdfast/contract";
import type { Refusal } from "../jobs/submission.ts";
import type { PlannedBook } from "./planned-book.ts";

/** What a caller changes about one page. */
export interface PageChange {
  readonly set?: Readonly<Record<string, unknown>> | undefined;
  readonly prompt?: string | undefined;
  readonly seed?: number | undefined;
}

/** A page as it is stored, for a plan of its next version. */
export interface PlannedBefore {
  readonly graph: unknown;
  readonly set: Readonly<Record<string, unknown>>;
}

/** The next version of a page: all its values come together. */
export interface PlannedVersion {
  readonly kind: "planned";
  readonly set: Readonly<Record<string, unknown>>;
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
