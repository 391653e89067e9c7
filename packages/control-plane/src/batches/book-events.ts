/** What is told of books, as rows of the outbox. Pure. */
import { EVENT_VERSION, type EventType, type ImageError } from "@holdfast/contract";
import { toInstant } from "../access/pages.ts";
import type { NewEvent } from "../platform/outbox.ts";
import type { Batch } from "./model.ts";
import type { PageTurn } from "./settling.ts";

type BatchFacts = Pick<Batch, "id" | "number" | "name" | "owner">;

function toEvent(id: string, type: EventType, batch: BatchFacts, more: object): NewEvent {
  const facts = { batchId: batch.id, batchNumber: batch.number, name: batch.name };
  // Not by the job: whoever follows that has seen its end already.
  return { id, type, version: EVENT_VERSION, owner: batch.owner, payload: { ...facts, ...more } };
}

/** A batch was made. */
export function createdEvent(id: string, batch: Batch, by: string): NewEvent {
  return toEvent(id, "book.created", batch, { pages: batch.pageCount, by });
}

/** A batch has ended. */
export function doneEvent(id: string, batch: Batch): NewEvent {
  return toEvent(id, "book.done", batch, { status: batch.status, pages: batch.counts });
}

/** What a page came to; null where nothing is told of it: of a cancel its job tells. */
export function pageEvent(
  id: string,
  batch: BatchFacts,
  page: { readonly page: number; readonly version: number; readonly jobId: string | null },
  turn: PageTurn,
): NewEvent | null {
  const { page: number, version, jobId } = page;
  const facts = { page: number, version, jobId };
  switch (turn.kind) {
    case "done":
      return toEvent(id, "book.page.done", batch, facts);
    case "cancelled":
      return null;
    case "retry": {
      const { error, retryCount, retryAt } = turn;
      const when = { retryCount, retryAt: toInstant(retryAt) };
      return toEvent(id, "book.page.retry", batch, {
        ...facts,
        error: error satisfies ImageError,
        ...when,
      });
    }
    case "flagged":
      return toEvent(id, "book.page.failed", batch, { ...facts, error: turn.error });
  }
}
