/** A book of one graph and a table of values, a row a page. Pure. */
import type { CreateBatch } from "@holdfast/contract";
import { invariant } from "@holdfast/runtime";
import type { Refusal } from "../jobs/submission.ts";
import type { Common } from "./book-graphs.ts";
import { readColumns } from "./columns.ts";
import { finishPage, type PlacedPage, type Planning } from "./finish-page.ts";
import { readRow } from "./row-values.ts";
import { readTable } from "./read-table.ts";

/** Plans the pages of a table, in the order of its rows. */
export function planTable(
  request: CreateBatch,
  given: NonNullable<CreateBatch["table"]>,
  common: Common | undefined,
  planning: Planning,
): PlacedPage[] | Refusal {
  invariant(common !== undefined, "a table comes with a graph");
  const read = readTable(given);
  if (read.kind === "refused") return read;
  const { places, graphNo } = common.graph;
  const columns = readColumns(read.table, request, places, common.set);
  if (columns.kind === "refused") return columns;
  const pages: PlacedPage[] = [];
  for (const [index, row] of read.table.rows.entries()) {
    const wish = readRow(row, columns.columns, places, common.set);
    if (wish.kind === "refused") return wish;
    const { variables, direct, misfits } = wish.wish;
    const page = wish.wish.page ?? index + 1;
    for (const { key, text } of misfits) planning.warnings.add(key, text, page);
    const filled = finishPage(
      places,
      {
        page,
        where: `table: ${row.where}`,
        wish: { variables, direct, prompt: undefined, seed: undefined },
        trouble: null,
        field: "table",
      },
      planning,
    );
    if ("kind" in filled) return filled;
    pages.push({
      where: row.where,
      planned: { page, name: null, graphNo: graphNo(), metadata: {}, ...filled },
    });
  }
  return pages;
}
