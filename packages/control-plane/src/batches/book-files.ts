/** What archives and contact sheets of a book are made from. */
import type { BatchView, BookPageView, OutputView, PageStatus } from "@holdfast/contract";
import type { Caller } from "../access/model.ts";

/** A page with what its newest version gave. */
export interface PageWithOutputs {
  readonly page: BookPageView;
  /** By ordinal; empty while it is not done. */
  readonly outputs: readonly OutputView[];
  /** What it is a picture of; null where nobody knows, left out where it was not asked for. */
  readonly prompt?: string | null;
}

/** Which pages to read. */
export interface PageChoice {
  /** Only those above this number. */
  readonly after?: number;
  readonly status?: PageStatus;
  /** Reads their graphs, too, and says what each is a picture of. */
  readonly withPrompts?: boolean;
  /** Reading ends soon after it is aborted. */
  readonly signal: AbortSignal;
}

/** Reads books for those who may see them. */
export interface BookReader {
  /** A book by id or number. Throws `not_found`, also for somebody else's. */
  find(
    caller: Caller,
    ref: string,
  ): Promise<{ readonly batch: BatchView; readonly largestPage: number }>;
  /** Pages by number, in steps of bounded size; each step is read when it is asked for. */
  pages(batchId: string, choice: PageChoice): AsyncIterable<readonly PageWithOutputs[]>;
}

/** Outputs that a book is made of: files that a graph saves, and previews where it saves none. */
export function keptOutputs(outputs: readonly OutputView[]): readonly OutputView[] {
  const saved = outputs.filter(({ temporary }) => !temporary);
  return saved.length > 0 ? saved : outputs;
}
