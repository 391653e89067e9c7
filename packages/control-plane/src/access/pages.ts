import {
  DEFAULT_PAGE_SIZE,
  HoldfastError,
  MAX_PAGE_SIZE,
  type pageQuerySchema,
} from "@holdfast/contract";
import type { z } from "zod";

/** A page as stores read it: rows from below `cursor` (an id), newest first. */
export interface PageRequest {
  readonly cursor: string | null;
  readonly limit: number;
}

/** What cursors of lists ordered by id look like. */
const ID_CURSOR = /^[a-z]{2,8}_[0-9a-z]{26}$/;

/** Reads `limit` and `cursor` of a list ordered by id. Throws `invalid_request`, `invalid_cursor`. */
export function readPage(query: z.infer<typeof pageQuerySchema>): PageRequest {
  const limit = readPageLimit(query);
  if (query.cursor !== undefined && !ID_CURSOR.test(query.cursor)) {
    throw new HoldfastError("invalid_cursor", "cursor is not the `next` of a page before");
  }
  return { cursor: query.cursor ?? null, limit };
}

/** Reads `limit` of any list. Throws `invalid_request`. */
export function readPageLimit(query: Pick<z.infer<typeof pageQuerySchema>, "limit">): number {
  const limit = query.limit === undefined ? DEFAULT_PAGE_SIZE : Number(query.limit);
  if (limit <= MAX_PAGE_SIZE) return limit;
  throw new HoldfastError("invalid_request", `limit may be at most ${MAX_PAGE_SIZE}`);
}

/** Makes a page of `limit + 1` fetched rows: the row too many tells that there is a next page. */
export function toPage<T extends { readonly id: string }>(
  rows: readonly T[],
  limit: number,
): { readonly items: readonly T[]; readonly next: string | null } {
  const items = rows.slice(0, limit);
  return { items, next: rows.length > limit ? (items.at(-1)?.id ?? null) : null };
}

/** An instant on the wire, from epoch milliseconds. */
export function toInstant(epochMs: number): string {
  return new Date(epochMs).toISOString();
}

/** Like {@link toInstant}; null stays null. */
export function toInstantOrNull(epochMs: number | null): string | null {
  return epochMs === null ? null : toInstant(epochMs);
}
