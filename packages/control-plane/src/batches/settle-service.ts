/** Pages that come to something: written, and what is to be told of it. */
import type { IdSource } from "@holdfast/runtime";
import type { Transaction } from "../platform/db.ts";
import type { NewEvent } from "../platform/outbox.ts";
import { pageEvent } from "./book-events.ts";
import type { Batch } from "./model.ts";
import { settlePages, type SettledPage } from "./step-store.ts";

/** Settles pages that are rendering; gives the events of those of which that was still true. */
export async function settleAndTell(
  ids: IdSource,
  tx: Transaction,
  batch: Batch,
  settled: readonly SettledPage[],
): Promise<readonly NewEvent[]> {
  const done = await settlePages(tx, batch.id, settled);
  return settled.flatMap(({ page, turn }) => {
    const event = done.has(page.page) ? pageEvent(ids.next("evt"), batch, page, turn) : null;
    return event === null ? [] : [event];
  });
}
