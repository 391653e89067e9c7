/** A table of values, a row a page: rows of JSON, or CSV. Pure. */
import { MAX_PAGES, MAX_TABLE_COLUMNS, type CreateBatch } from "@holdfast/contract";
import { isStorableText } from "../jobs/json-bounds.ts";
import { refuse, type Refusal } from "../jobs/submission.ts";
import { readCsv } from "./csv-table.ts";
import type { Table } from "./table.ts";

const MAX_NAME_LENGTH = 256;

/** Reads a request's table; what is wrong with it as a table is refused. */
export function readTable(
  given: NonNullable<CreateBatch["table"]>,
): { readonly kind: "table"; readonly table: Table } | Refusal {
  const read = "csv" in given ? readCsv(given.csv) : readRows(given.rows);
  if (read.kind === "refused") return read;
  const problem = findTableProblem(read.table);
  return problem === undefined ? read : refuseTable(problem);
}

function readRows(
  rows: readonly Readonly<Record<string, unknown>>[],
): { readonly kind: "table"; readonly table: Table } | Refusal {
  const columns = new Set<string>();
  for (const row of rows) {
    for (const name of Object.keys(row)) columns.add(name);
    // Looked at in each row: a table of different names in each would be as wide as it is long.
    if (columns.size > MAX_TABLE_COLUMNS) {
      return refuseTable(`has more than ${MAX_TABLE_COLUMNS} columns`);
    }
  }
  const names = [...columns];
  return {
    kind: "table",
    table: {
      isTyped: true,
      columns: names,
      rows: rows.map((row, index) => ({
        where: `row ${index + 1}`,
        cells: names.map((name) => (Object.hasOwn(row, name) ? (row[name] ?? null) : null)),
      })),
    },
  };
}

function findTableProblem({ columns, rows }: Table): string | undefined {
  if (rows.length === 0) return "has no row; a book has at least one page";
  if (rows.length > MAX_PAGES) return `has more than ${MAX_PAGES} rows; make it several books`;
  const unnamed = columns.findIndex((name) => name === "");
  if (unnamed >= 0) return `has no name for column ${unnamed + 1}`;
  const long = columns.find((name) => name.length > MAX_NAME_LENGTH || !isStorableText(name));
  if (long !== undefined) {
    return `has a column name that is longer than ${MAX_NAME_LENGTH} characters or no text: ${JSON.stringify(long.slice(0, 80))}`;
  }
  const double = columns.find((name, index) => columns.indexOf(name) !== index);
  if (double !== undefined) return `has the column ${JSON.stringify(double)} twice`;
  return undefined;
}

function refuseTable(what: string): Refusal {
  return refuse("invalid_request", `table ${what}`, { field: "table" });
}
