/** A book as it is written down: what planning makes of a request, before anything is stored. */
import type { ErrorCode } from "@holdfast/contract";
import type { VariableValue } from "./model.ts";

/** Why no job can be made of a page. The page is kept, and flagged when its tries are over. */
export interface PageTrouble {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** One page: which graph, and the values that are put into it. */
export interface PlannedPage {
  readonly page: number;
  readonly name: string | null;
  /** Its graph, as an index into {@link PlannedBook.graphs}. */
  readonly graphNo: number;
  /**
   * Values by `node.input`, all that was asked for come together: variables and columns filled in,
   * the batch's `set`, the page's own `set`, prompt and seed in their places.
   */
  readonly set: Readonly<Record<string, unknown>>;
  /** Values of its graph's variables: whoever changes one of them later needs the others. */
  readonly variables: ReadonlyMap<string, VariableValue>;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly trouble: PageTrouble | null;
}

/** All pages of a book, and each graph that they are made of once, as its caller sent it. */
export interface PlannedBook {
  readonly graphs: readonly unknown[];
  /** By page number, ascending. */
  readonly pages: readonly PlannedPage[];
  readonly warnings: readonly string[];
}
