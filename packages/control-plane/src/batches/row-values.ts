/** From a row of a table to what is wanted of its page. Pure. */
import { isLink } from "@holdfast/comfyui/protocol";
import { refuse, type Refusal } from "../jobs/submission.ts";
import { fitCell, isTextInput, readByKind } from "./cell-values.ts";
import type { Column } from "./columns.ts";
import type { VariableValue } from "./model.ts";
import { isTemplateValue, type SetValues } from "./set-values.ts";
import type { TableRow } from "./table.ts";
import type { TemplatePlaces } from "./template-places.ts";

/** A row, read. */
export interface RowWish {
  /** Its page number, where a column says one. */
  readonly page: number | undefined;
  readonly variables: ReadonlyMap<string, VariableValue>;
  readonly direct: ReadonlyMap<string, unknown>;
  /** Values of another type than the input they go to; ComfyUI has the last word on them. */
  readonly misfits: readonly { readonly key: string; readonly text: string }[];
}

const MAX_PAGE_NUMBER = 1_000_000;

/** Reads one row. A cell without a value leaves its inputs as they are. */
export function readRow(
  row: TableRow,
  columns: readonly Column[],
  places: TemplatePlaces,
  common: SetValues,
): { readonly kind: "row"; readonly wish: RowWish } | Refusal {
  const variables = new Map(common.variables);
  const direct = new Map(common.direct);
  const misfits: { key: string; text: string }[] = [];
  let page: number | undefined;
  for (const [index, column] of columns.entries()) {
    const cell = row.cells[index] ?? null;
    if (cell === null) continue;
    if (column.isPage) {
      page = toPageNumber(cell);
      if (page === undefined) {
        return refuseCell(
          row,
          `expected a whole number from 1 to ${MAX_PAGE_NUMBER} under page, found ${shown(cell)}`,
        );
      }
    }
    if (column.isVariable) {
      if (!isTemplateValue(cell)) {
        return refuseCell(
          row,
          `expected a text, a number or true or false under "${column.name}", found ${shown(cell)}`,
        );
      }
      const alone = readByKind(cell, column.kind);
      variables.set(column.name, { within: cell, ...(alone !== cell && { alone }) });
    }
    for (const name of column.inputs) {
      const { value, misfit } = inputValue(cell, name, column, places);
      direct.set(name, value);
      if (misfit === undefined) continue;
      const text = `column "${column.name}": expected ${misfit} for ${name}, found ${shown(cell)}; it is put in as it is`;
      misfits.push({ key: `${column.name}\n${name}`, text });
    }
  }
  return { kind: "row", wish: { page, variables, direct, misfits } };
}

function inputValue(
  cell: unknown,
  name: string,
  { kind }: Column,
  places: TemplatePlaces,
): ReturnType<typeof fitCell> {
  const current = places.current(name);
  const isOpen = isLink(current) || current === null || places.inputs.get(name)?.isAlone === true;
  return isOpen
    ? { value: isTextInput(name) ? cell : readByKind(cell, kind) }
    : fitCell(cell, current);
}

function toPageNumber(cell: unknown): number | undefined {
  const isNumber =
    typeof cell === "number" || (typeof cell === "string" && /^\s*\d{1,7}\s*$/.test(cell));
  const page = isNumber ? Number(cell) : Number.NaN;
  return Number.isInteger(page) && page >= 1 && page <= MAX_PAGE_NUMBER ? page : undefined;
}

function shown(cell: unknown): string {
  const text = JSON.stringify(cell);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function refuseCell(row: TableRow, what: string): Refusal {
  return refuse("invalid_request", `table: ${row.where}: ${what}`, {
    field: "table",
    row: row.where,
  });
}
