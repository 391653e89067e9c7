/** Versions: a page rendered anew keeps what it had. Under the lock of the batch. */
import type { PageStatus } from "@holdfast/contract";
import { toJson, type Queryable, type Transaction } from "../platform/db.ts";
import { STALE_RELEASE_MS, type ReleasedPage } from "./model.ts";
import type { PlannedPage } from "./planned-book.ts";
import { RELEASED_COLUMNS, toReleasedPage, type ReleasedRow } from "./page-rows.ts";

/** What a regenerate changes of a page. */
export interface NewVersion {
  readonly by: string;
  /** Other values, with which a job can be made of it. Left out: it stays as it is. */
  readonly planned?: Pick<PlannedPage, "set" | "variables">;
}

/**
 * Gives pages in one of these states a new version; those in others are left as they are. The job of
 * one that was rendering has to be cancelled: its version says so until that is done. Returns the
 * pages, in order.
 */
export async function renewPages(
  tx: Transaction,
  batchId: string,
  pages: readonly number[],
  states: readonly PageStatus[],
  version: NewVersion,
): Promise<number[]> {
  const { planned } = version;
  const { rows } = await tx.query<{ page: number }>(
    `with kept as (
       insert into book_page_versions (batch_id, page, version, overrides, made_by, made_at, job_id,
         releasing_since, ends_job, changes)
       select batch_id, page, version, overrides, made_by, made_at, job_id, releasing_since,
         state = 'rendering', changes
       from book_pages where batch_id = $1 and page = any($2::int[]) and state = any($3::text[])
       returning page
     )
     update book_pages p set state = 'pending', version = p.version + 1, made_by = $4,
       made_at = now(), job_id = null, settled_round = 0, releasing_since = null, retry_count = 0,
       retry_at = null, ended_at = null, changes = null,
       overrides = coalesce($5::jsonb, p.overrides), variables = coalesce($6::jsonb, p.variables),
       trouble = case when $5 is null then p.trouble end
     from kept where p.batch_id = $1 and p.page = kept.page
     returning p.page`,
    [
      batchId,
      pages,
      states,
      version.by,
      planned === undefined ? null : toJson(planned.set),
      planned === undefined ? null : toJson(Object.fromEntries(planned.variables)),
    ],
  );
  return rows.map(({ page }) => page).sort((a, b) => a - b);
}

/**
 * Versions whose job has still to be cancelled. One that was just being given out is left to whoever is
 * at it, as long as that may still be.
 */
export async function readStrays(
  db: Queryable,
  batchId: string,
  limit: number,
): Promise<ReleasedPage[]> {
  const { rows } = await db.query<ReleasedRow>(
    `select ${RELEASED_COLUMNS.replace("p.version", "v.version")
      .replace("p.overrides", "v.overrides")
      .replace("p.job_id", "v.job_id")}
     from book_page_versions v join book_pages p on p.batch_id = v.batch_id and p.page = v.page
     where v.ends_job and v.batch_id = $1
       and coalesce(v.releasing_since < now() - make_interval(secs => $2::float8 / 1000), true)
     limit $3`,
    [batchId, STALE_RELEASE_MS, limit],
  );
  return rows.map(toReleasedPage);
}

/** Batches that have versions whose job has still to be cancelled. */
export async function readStrayBatches(db: Queryable, limit: number): Promise<string[]> {
  const { rows } = await db.query<{ batch_id: string }>(
    "select distinct batch_id from book_page_versions where ends_job limit $1",
    [limit],
  );
  return rows.map((row) => row.batch_id);
}

/** The job of a version was cancelled, or had ended. */
export async function endStray(
  db: Queryable,
  { batchId, page, version }: ReleasedPage,
  jobId: string | null,
): Promise<void> {
  await db.query(
    `update book_page_versions set ends_job = false, releasing_since = null,
       job_id = coalesce($4, job_id)
     where batch_id = $1 and page = $2 and version = $3`,
    [batchId, page, version, jobId],
  );
}
