import { fieldOf, type ApiClient } from "./api-client.ts";
import { toList } from "./job-calls.ts";

/** Most that one page of a list holds. */
const PAGE = 500;

/** What a list gave, and whether there is more. */
export interface Listed<T> {
  readonly items: readonly T[];
  readonly hasMore: boolean;
}

/** Reads a list of the server's page by page, at most `limit` of it. `toItem` may throw for what is none. */
export async function listAll<T>(
  api: ApiClient,
  path: string,
  query: URLSearchParams,
  limit: number,
  toItem: (value: unknown) => T,
): Promise<Listed<T>> {
  const items: T[] = [];
  let hasMore = false;
  do {
    query.set("limit", String(Math.min(PAGE, limit - items.length)));
    const page = await api.json(`${path}?${query.toString()}`);
    const found = toList(page, "items").map((item) => toItem(item));
    items.push(...found);
    const next = fieldOf(page, "next");
    hasMore = typeof next === "string";
    if (typeof next === "string") query.set("cursor", next);
    // A server that says that there is more and gives nothing would be asked for ever.
    if (found.length === 0) break;
  } while (hasMore && items.length < limit);
  return { items, hasMore };
}
