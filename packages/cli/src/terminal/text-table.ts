/** One column: its head and how a row's cell is made. */
export interface Column<T> {
  readonly head: string;
  readonly cell: (row: T) => string;
  /** Numbers stand at the right. */
  readonly isRight?: boolean;
}

const GAP = "  ";
const MIN_LAST_COLUMN = 10;

/**
 * Rows as aligned text, one a line, head first. The last column is cut to what `columns` leaves;
 * control characters in cells are taken out, as names and messages come from outside.
 */
export function textTable<T>(
  rows: readonly T[],
  shape: readonly Column<T>[],
  columns: number,
): string[] {
  const cells = rows.map((row) => shape.map((column) => plainText(column.cell(row))));
  const widths = shape.map((column, i) =>
    Math.max(column.head.length, ...cells.map((line) => line[i]?.length ?? 0)),
  );
  const last = shape.length - 1;
  const before = widths.slice(0, last).reduce((sum, width) => sum + width + GAP.length, 0);
  widths[last] = Math.min(widths[last] ?? 0, Math.max(MIN_LAST_COLUMN, columns - before));
  const toLine = (line: readonly string[]): string =>
    line
      .map((text, i) => {
        const width = widths[i] ?? 0;
        const cut = shorten(text, width);
        return shape[i]?.isRight === true ? cut.padStart(width) : cut.padEnd(width);
      })
      .join(GAP)
      .trimEnd();
  return [toLine(shape.map((column) => column.head)), ...cells.map(toLine)];
}

/** A text without control characters: nothing from outside may steer the screen. */
export function plainText(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replaceAll(/[\u0000-\u001F\u007F-\u009F]+/g, " ");
}

/** A text cut to `width` characters, with an ellipsis where something is left out. */
export function shorten(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}
