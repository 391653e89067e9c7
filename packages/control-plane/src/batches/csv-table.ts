/** Tables of values as spreadsheets save them. Pure. */
import { MAX_PAGES, MAX_TABLE_COLUMNS } from "@holdfast/contract";
import { CsvError, parse } from "csv-parse/sync";
import { refuse, type Refusal } from "../jobs/submission.ts";
import type { Table } from "./table.ts";

/** Longest row, in characters. */
const MAX_ROW_LENGTH = 1_000_000;
/** A cell that is the empty text, or may be one. */
const QUOTED_EMPTY = /(?:^|[,;\t\r\n\uFEFF])""(?:[,;\t\r\n]|$)/;
/** Spreadsheets of some countries part values by semicolons, for the comma stands in their numbers. */
const DELIMITERS = [",", "\t", ";"];

interface CsvRecord {
  readonly record: readonly (string | null)[];
  readonly info: { readonly lines: number };
}

/**
 * Reads CSV: a line of column names, then a row a page. A cell with nothing in it has no value; one
 * with `""` in it has the empty text. Every row has as many cells as there are columns.
 */
export function readCsv(text: string): { readonly kind: "table"; readonly table: Table } | Refusal {
  const header = firstLineOf(text);
  const hasEmptyTexts = QUOTED_EMPTY.test(text);
  let records: readonly CsvRecord[];
  try {
    records = parse(text, {
      bom: true,
      // Asked of each cell, which takes longer than all the rest: only where it makes a difference.
      cast: hasEmptyTexts
        ? (value, { quoting }) => (value === "" && !quoting ? null : value)
        : false,
      delimiter: DELIMITERS.find((delimiter) => header.includes(delimiter)) ?? ",",
      info: true,
      max_record_size: MAX_ROW_LENGTH,
      relax_column_count: true,
      skip_empty_lines: true,
      to: MAX_PAGES + 2,
    }) as unknown as readonly CsvRecord[];
  } catch (error) {
    if (error instanceof CsvError) return refuseCsv(wordsFor(error));
    throw error;
  }
  const [head, ...rows] = records;
  if (head === undefined) return refuseCsv("is empty; its first line names the columns");
  const columns = head.record.map((name) => (name ?? "").trim());
  if (columns.length > MAX_TABLE_COLUMNS) {
    return refuseCsv(`has ${columns.length} columns; at most ${MAX_TABLE_COLUMNS} are taken`);
  }
  const ragged = rows.find(({ record }) => record.length !== columns.length);
  if (ragged !== undefined) {
    const { record, info } = ragged;
    return refuseCsv(
      `line ${info.lines} has ${countOf(record.length, "value")}, and the first line names ${countOf(columns.length, "column")}; a value with a delimiter in it is put in double quotes`,
      { line: info.lines },
    );
  }
  return {
    kind: "table",
    table: {
      isTyped: false,
      columns,
      rows: rows.map(({ record, info }) => ({
        where: `line ${info.lines}`,
        cells: hasEmptyTexts ? record : record.map((cell) => (cell === "" ? null : cell)),
      })),
    },
  };
}

function firstLineOf(text: string): string {
  const start = text.search(/[^\s\uFEFF]/);
  if (start < 0) return "";
  const end = text.slice(start, start + MAX_ROW_LENGTH).search(/[\r\n]/);
  return text.slice(start, end < 0 ? start + MAX_ROW_LENGTH : start + end);
}

function countOf(count: number, what: string): string {
  return count === 1 ? `1 ${what}` : `${count} ${what}s`;
}

function wordsFor(error: CsvError): string {
  const line = typeof error["lines"] === "number" ? `line ${error["lines"]}: ` : "";
  switch (error.code) {
    case "CSV_QUOTE_NOT_CLOSED":
      return `${line}a double quote is opened and never closed`;
    case "CSV_INVALID_CLOSING_QUOTE":
    case "INVALID_OPENING_QUOTE":
    case "CSV_NON_TRIMABLE_CHAR_AFTER_CLOSING_QUOTE":
      return `${line}a double quote stands within a value; put the whole value in double quotes, and write each one inside it twice`;
    case "CSV_MAX_RECORD_SIZE":
      return `${line}a row has more than ${MAX_ROW_LENGTH} characters; is a double quote not closed?`;
    default:
      return `${line}${error.message}`;
  }
}

function refuseCsv(what: string, details?: Readonly<Record<string, unknown>>): Refusal {
  return refuse("invalid_request", `table.csv ${what}`, { field: "table.csv", ...details });
}
