/** Pages as they are written at first, and as they are read. */
import type { JobChanges, PageStatus } from "@holdfast/contract";
import { statement, toJson, type Queryable, type Transaction } from "../platform/db.ts";
import type { PlannedPage } from "./planned-book.ts";
import { PAGE_COLUMNS, toChanges, toPageFacts, type PageFacts, type PageRow } from "./page-rows.ts";

/** Writes the graphs of a book. */
export async function insertGraphs(
  tx: Transaction,
  batchId: string,
  graphs: readonly string[],
): Promise<void> {
  await tx.query(
    `insert into book_graphs (batch_id, graph_no, body)
     select $1, place - 1, body::json from unnest($2::text[]) with ordinality as g (body, place)`,
    [batchId, graphs],
  );
}

const INSERT_PAGES = statement(
  "batches.insert_pages",
  `insert into book_pages (batch_id, page, name, graph_no, overrides, variables, metadata,
     trouble, made_by)
   select $1, r.*, $9
   from unnest($2::int[], $3::text[], $4::int[], $5::jsonb[], $6::jsonb[], $7::jsonb[],
     $8::jsonb[]) as r`,
);

/** Writes pages of a book. */
export async function insertPages(
  tx: Transaction,
  batchId: string,
  pages: readonly PlannedPage[],
  by: string,
): Promise<void> {
  await tx.query(INSERT_PAGES, [
    batchId,
    pages.map(({ page }) => page),
    pages.map(({ name }) => name),
    pages.map(({ graphNo }) => graphNo),
    pages.map((page) => toJson(page.set)),
    pages.map(({ variables }) => toJson(Object.fromEntries(variables))),
    pages.map(({ metadata }) => toJson(metadata)),
    pages.map(({ trouble }) => (trouble === null ? null : toJson(trouble))),
    by,
  ]);
}

const GRAPHS = statement(
  "batches.graphs",
  "select graph_no, body from book_graphs where batch_id = $1 and graph_no = any($2::int[])",
);

/** Graphs of a book by number. */
export async function readGraphs(
  db: Queryable,
  batchId: string,
  graphNos: readonly number[],
): Promise<ReadonlyMap<number, unknown>> {
  const { rows } = await db.query<{ graph_no: number; body: unknown }>(GRAPHS, [
    batchId,
    [...new Set(graphNos)],
  ]);
  return new Map(rows.map((row) => [row.graph_no, row.body]));
}

const LIST = statement(
  "batches.pages",
  `select ${PAGE_COLUMNS} from (
     select * from book_pages where batch_id = $1 and page > $2 order by page limit $3) p
   order by p.page`,
);
const LIST_BY_STATE = statement(
  "batches.pages_by_state",
  `select ${PAGE_COLUMNS} from (
     select * from book_pages where batch_id = $1 and state = $4 and page > $2
     order by page limit $3) p
   order by p.page`,
);

/** Pages of a batch after a page number, in order. */
export async function listPages(
  db: Queryable,
  batchId: string,
  page: { readonly after: number; readonly limit: number; readonly state: PageStatus | null },
): Promise<PageFacts[]> {
  const where = [batchId, page.after, page.limit];
  const { rows } =
    page.state === null
      ? await db.query<PageRow>(LIST, where)
      : await db.query<PageRow>(LIST_BY_STATE, [...where, page.state]);
  return rows.map(toPageFacts);
}

/** One page. */
export async function readPage(
  db: Queryable,
  batchId: string,
  page: number,
): Promise<PageFacts | undefined> {
  const { rows } = await db.query<PageRow>(
    `select ${PAGE_COLUMNS} from book_pages p where p.batch_id = $1 and p.page = $2`,
    [batchId, page],
  );
  return rows[0] === undefined ? undefined : toPageFacts(rows[0]);
}

/** The largest page number of a batch; 0 when it has no page. */
export async function readLargestPage(db: Queryable, batchId: string): Promise<number> {
  const { rows } = await db.query<{ page: number }>(
    "select page from book_pages where batch_id = $1 order by page desc limit 1",
    [batchId],
  );
  return rows[0]?.page ?? 0;
}

/** A version of a page that is not its present one. Instants in epoch ms. */
export interface EarlierVersion {
  readonly version: number;
  readonly jobId: string | null;
  readonly overrides: Readonly<Record<string, unknown>>;
  readonly by: string;
  readonly createdAt: number;
  readonly changes: JobChanges | null;
}

/** Versions of a page before the present one, the newest first. */
export async function readVersions(
  db: Queryable,
  batchId: string,
  page: number,
  limit: number,
): Promise<EarlierVersion[]> {
  const { rows } = await db.query<EarlierVersion & Record<string, unknown>>(
    `select version, job_id as "jobId", overrides, made_by as "by", made_at as "createdAt",
       changes
     from book_page_versions where batch_id = $1 and page = $2 order by version desc limit $3`,
    [batchId, page, limit],
  );
  return rows.map((row) => ({ ...row, changes: toChanges(row.changes) }));
}

/** Numbers and states of pages: of those named, or of all in these states. */
export async function readPageStates(
  db: Queryable,
  batchId: string,
  which: { readonly pages: readonly number[] } | { readonly states: readonly PageStatus[] },
): Promise<{ readonly page: number; readonly state: PageStatus }[]> {
  const { rows } = await db.query<{ page: number; state: PageStatus }>(
    `select page, state from book_pages
     where batch_id = $1 and ${"pages" in which ? "page = any($2::int[])" : "state = any($2::text[])"}
     order by page`,
    [batchId, "pages" in which ? which.pages : which.states],
  );
  return rows;
}
