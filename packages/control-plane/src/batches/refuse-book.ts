/** Words for what is wrong with a book. Pure. */
import { findJsonProblem } from "../jobs/json-bounds.ts";
import { refuse, type Refusal } from "../jobs/submission.ts";
import type { PageTrouble } from "./planned-book.ts";

/** Lists and objects inside one another that are stored at all. A graph may have fewer: that is for its page. */
const MAX_STORED_DEPTH = 500;

/** What a value that {@link isStorable} does not take is said to do. */
export const UNSTORABLE = `holds a NUL character or half a surrogate pair, or is nested deeper than ${MAX_STORED_DEPTH} levels`;

/** Whether the database can keep a value of JSON. */
export function isStorable(value: unknown): boolean {
  return findJsonProblem(value, MAX_STORED_DEPTH) === undefined;
}

/** Refuses all of it for what would be the trouble of one page. */
export function refuseFor({ code, message, details }: PageTrouble): Refusal {
  return refuse(code, message, details);
}

/** Refuses a book for a field of its request. */
export function refuseBook(
  field: string,
  message: string,
  details?: Readonly<Record<string, unknown>>,
): Refusal {
  return refuse("invalid_request", message, { field, ...details });
}
