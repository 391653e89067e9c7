import { HoldfastError } from "@holdfast/contract";

/** Which way a list goes. */
export type ListOrder = "newest" | "oldest";

/** A place in a list of jobs: everything up to this id has been shown. */
export interface ListCursor {
  readonly order: ListOrder;
  readonly id: string;
}

const CURSOR = /^([no])(job_[0-9a-z]{26})$/;

/** The text of a cursor: opaque to callers. */
export function encodeCursor({ order, id }: ListCursor): string {
  return Buffer.from(`${order === "newest" ? "n" : "o"}${id}`, "latin1").toString("base64url");
}

/** Reads a cursor; throws `invalid_cursor` for anything that `encodeCursor` did not make for this order. */
export function decodeCursor(text: string, order: ListOrder): ListCursor {
  const match = CURSOR.exec(Buffer.from(text, "base64url").toString("latin1"));
  const [, letter, id] = match ?? [];
  if (letter === undefined || id === undefined) {
    throw new HoldfastError(
      "invalid_cursor",
      "the cursor is not one that a page of this list gave as next; start without a cursor",
    );
  }
  const found: ListOrder = letter === "n" ? "newest" : "oldest";
  if (found !== order) {
    throw new HoldfastError(
      "invalid_cursor",
      `the cursor belongs to a list in order ${found}, this one is in order ${order}`,
    );
  }
  return { order, id };
}
