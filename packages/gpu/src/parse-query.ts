/** Reads what `nvidia-smi --query-…=… --format=csv` prints: by the header, never by position alone. */

/** One value of a row. */
export type QueryValue =
  | { readonly kind: "text"; readonly text: string; readonly unit: string | null }
  /** `[N/A]`, `[Not Supported]`, `[Unknown Error]`, `ERR!`, …: not known, which is never zero. */
  | { readonly kind: "unknown"; readonly why: string }
  | { readonly kind: "fault"; readonly fault: "lost" | "needs_reset" };

/** A row by field name, as the header has it without its unit. */
export type QueryRow = ReadonlyMap<string, QueryValue>;

/** Rows, and whatever else was printed between them. */
export interface QueryResult {
  /** Empty when there was no header. */
  readonly fields: readonly string[];
  readonly rows: readonly QueryRow[];
  readonly otherLines: readonly string[];
}

/** Most lines that are looked at. */
const LINES_MAX = 10_000;
/** Fields with a text of somebody's own, in which commas may be. */
const FREE_TEXT: readonly string[] = ["process_name", "name", "gpu_name"];

/**
 * Parses CSV. Without `header` (`--format=csv,noheader`) the fields that were asked for have to be
 * named, with their units as a header has them (`memory.used [MiB]`) where the values have none.
 */
export function parseQuery(text: string, header?: readonly string[]): QueryResult {
  let columns = header?.map((cell) => toColumn(cell));
  const rows: QueryRow[] = [];
  const otherLines: string[] = [];
  for (const line of text.split(/\r?\n/).slice(0, LINES_MAX)) {
    if (line.trim() === "") continue;
    const cells = line.split(",").map((cell) => cell.trim());
    if (columns === undefined && cells.every((cell) => isFieldName(cell))) {
      columns = cells.map((cell) => toColumn(cell));
      continue;
    }
    const fitted = columns === undefined ? undefined : fitCells(cells, columns);
    if (columns === undefined || fitted === undefined) otherLines.push(line.trim());
    else rows.push(toRow(fitted, columns));
  }
  return { fields: columns?.map(({ name }) => name) ?? [], rows, otherLines };
}

interface Column {
  readonly name: string;
  readonly unit: string | null;
}

function isFieldName(cell: string): boolean {
  return /^[a-z][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*(?: \[[A-Za-z%]+\])?$/.test(cell);
}

function toColumn(cell: string): Column {
  const match = /^(\S+)(?: \[([^\]]+)\])?$/.exec(cell.trim());
  return { name: match?.[1] ?? cell.trim(), unit: match?.[2] ?? null };
}

/** nvidia-smi quotes nothing: surplus cells belong to the field that may hold commas. */
function fitCells(
  cells: readonly string[],
  columns: readonly Column[],
): readonly string[] | undefined {
  const surplus = cells.length - columns.length;
  if (surplus === 0) return cells;
  const free = columns.findIndex(({ name }) => FREE_TEXT.includes(name));
  if (surplus < 0 || free < 0) return undefined;
  return [
    ...cells.slice(0, free),
    cells.slice(free, free + surplus + 1).join(", "),
    ...cells.slice(free + surplus + 1),
  ];
}

function toRow(cells: readonly string[], columns: readonly Column[]): QueryRow {
  return new Map(columns.map(({ name, unit }, index) => [name, toValue(cells[index]!, unit)]));
}

function toValue(cell: string, unit: string | null): QueryValue {
  if (/^\[?GPU requires reset\]?$/i.test(cell)) return { kind: "fault", fault: "needs_reset" };
  if (/^\[?GPU is lost\]?$/i.test(cell)) return { kind: "fault", fault: "lost" };
  if (cell === "" || /^(?:\[.*\]|N\/A|ERR!|Unknown Error|Not Supported)$/i.test(cell)) {
    return { kind: "unknown", why: cell === "" ? "empty" : cell.replace(/^\[|\]$/g, "") };
  }
  const measured = /^(-?\d+(?:\.\d+)?) ?(MiB|GiB|KiB|W|%|MHz|us|C)$/.exec(cell);
  return measured === null
    ? { kind: "text", text: cell, unit }
    : { kind: "text", text: measured[1]!, unit: measured[2]! };
}

/** A field's text; null when it is not known or was not asked for. */
export function textOf(row: QueryRow, field: string): string | null {
  const value = row.get(field);
  return value?.kind === "text" ? value.text : null;
}

/** A field's number, without its unit; null when it is none. */
export function numberOf(row: QueryRow, field: string): number | null {
  const text = textOf(row, field);
  return text !== null && /^-?\d+(?:\.\d+)?$/.test(text) ? Number(text) : null;
}

const BYTES: Readonly<Record<string, number>> = { KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** A field of memory in bytes; without a unit it is in MiB, as with `nounits`. */
export function bytesOf(row: QueryRow, field: string): number | null {
  const value = row.get(field);
  const number = numberOf(row, field);
  if (value?.kind !== "text" || number === null || number < 0) return null;
  const factor = BYTES[value.unit ?? "MiB"];
  return factor === undefined ? null : Math.round(number * factor);
}

/** How nvidia-smi writes that the driver gave an error, which may be one that it has no word for. */
const ERRORS: readonly string[] = ["Unknown Error", "ERR!"];
/** Fewer may be of a sensor, which is known to come and go. */
const ERRORS_MIN = 2;

/** Of what these fields should tell, the row has errors alone; what a card never tells is left out. */
export function isErrorsAlone(row: QueryRow, fields: readonly string[]): boolean {
  const values = fields.flatMap((field) => row.get(field) ?? []);
  const errors = values.filter((value) => value.kind === "unknown" && ERRORS.includes(value.why));
  return errors.length >= ERRORS_MIN && values.every(({ kind }) => kind === "unknown");
}

/** What the row says of the whole card: lost goes before a reset. */
export function faultOf(row: QueryRow): "lost" | "needs_reset" | null {
  const faults = [...row.values()].flatMap((value) =>
    value.kind === "fault" ? [value.fault] : [],
  );
  if (faults.length === 0) return null;
  return faults.includes("lost") ? "lost" : "needs_reset";
}
