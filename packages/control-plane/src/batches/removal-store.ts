import type { Queryable } from "../platform/db.ts";

/** Marks books as removed that ended long ago and of which no job is left; gives how many. */
export async function markRemoved(db: Queryable, keptMs: number, limit: number): Promise<number> {
  const { rowCount } = await db.query(
    `update batches set removed_at = now(), wake_at = null where id in (
       select id from batches b
       where ended_at < now() - make_interval(secs => $1::float8 / 1000) and removed_at is null
         and not exists (select from jobs j where j.batch_id = b.id)
       order by ended_at limit $2 for no key update skip locked)`,
    [keptMs, limit],
  );
  return rowCount;
}

/**
 * Removes pages of books that are marked, and a book when it has none left; gives how many rows went.
 * Bounded: while a transaction runs, no event that follows it can be read.
 */
export async function removeMarked(db: Queryable, limit: number): Promise<number> {
  const { rowCount: pages } = await db.query(
    `delete from book_pages where (batch_id, page) in (
       select p.batch_id, p.page
       from (select id from batches where removed_at is not null order by removed_at limit 1) b
       join book_pages p on p.batch_id = b.id order by p.page limit $1)`,
    [limit],
  );
  if (pages > 0) return pages;
  const { rowCount: books } = await db.query(
    `delete from batches where id in (
       select id from batches b where removed_at is not null
         and not exists (select from book_pages p where p.batch_id = b.id)
       order by removed_at limit 1)`,
  );
  return books;
}
