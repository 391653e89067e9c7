/** One column: its head and how a row's cell is made. */
export interface Column<T> {
  readonly head: string;
  readonly cell: (row: T) => string;
  /** Numbers stand at the right. */
  readonly isRight?: boolean;
  /** An id that is only told apart: its middle is left out where there is no room. */
  readonly isId?: boolean;
}

const GAP = "  ";
const INDENT = "    ";
/** With less room the last column stands beneath its row. */
const MIN_LAST_COLUMN = 30;
/** No column is made narrower to make room. */
const MIN_COLUMN = 8;
const SHORT_ID_LENGTH = 12;
/** Of a short id, what is left of its end: ids of one time begin alike. */
const SHORT_ID_END = 4;

/** How wide columns are, and where the last one stands. */
interface Layout {
  readonly widths: readonly number[];
  readonly isLastBeneath: boolean;
}

/**
 * Rows as aligned text, head first. Nothing is cut but the middle of ids: where `columns` has no room
 * for a line, cells go on in further lines, and the last column stands beneath its row if it must.
 * `columns` is Infinity where nobody watches. Control characters in cells are taken out, as names and
 * messages come from outside.
 */
export function textTable<T>(
  rows: readonly T[],
  shape: readonly Column<T>[],
  columns: number,
): string[] {
  const cells = rows.map((row) => shape.map((column) => plainText(column.cell(row))));
  const natural = shape.map((column, i) =>
    Math.max(column.head.length, ...cells.map((line) => line[i]?.length ?? 0)),
  );
  const layout = layoutOf(shape, natural, columns);
  const head = shape.map((column) => column.head);
  return [head, ...cells].flatMap((line) => toLines(line, shape, layout));
}

function layoutOf<T>(
  shape: readonly Column<T>[],
  natural: readonly number[],
  columns: number,
): Layout {
  if (totalOf(natural) <= columns) return { widths: natural, isLastBeneath: false };
  const widths = shape.map(({ head, isId }, i) => {
    const width = natural[i] ?? 0;
    return isId === true ? Math.max(head.length, Math.min(width, SHORT_ID_LENGTH)) : width;
  });
  const last = widths.pop() ?? 0;
  const left = columns - totalOf(widths) - (widths.length === 0 ? 0 : GAP.length);
  if (left >= Math.min(last, MIN_LAST_COLUMN)) {
    return { widths: [...widths, Math.min(last, left)], isLastBeneath: false };
  }
  squeeze(shape, widths, columns);
  return { widths: [...widths, Math.max(1, columns - INDENT.length)], isLastBeneath: true };
}

/** Takes from the widest columns, neither the first one nor numbers, until a line has room for all. */
function squeeze<T>(shape: readonly Column<T>[], widths: number[], columns: number): void {
  for (;;) {
    const over = totalOf(widths) - columns;
    if (over <= 0) return;
    const mayGive = (i: number): boolean =>
      i > 0 && shape[i]?.isRight !== true && (widths[i] ?? 0) > MIN_COLUMN;
    const giving = [...widths.keys()].filter(mayGive);
    const widest = giving.toSorted((one, other) => (widths[other] ?? 0) - (widths[one] ?? 0))[0];
    if (widest === undefined) return;
    widths[widest] = Math.max(MIN_COLUMN, (widths[widest] ?? 0) - over);
  }
}

function totalOf(widths: readonly number[]): number {
  const gaps = Math.max(0, widths.length - 1) * GAP.length;
  return widths.reduce((sum, width) => sum + width, gaps);
}

function toLines<T>(
  line: readonly string[],
  shape: readonly Column<T>[],
  { widths, isLastBeneath }: Layout,
): readonly string[] {
  const last = shape.length - 1;
  const beside = isLastBeneath ? line.slice(0, last) : line;
  const folded = beside.map((text, i) => {
    const width = widths[i] ?? 0;
    return shape[i]?.isId === true ? [shortId(text, width)] : foldText(text, width);
  });
  const height = Math.max(1, ...folded.map(({ length }) => length));
  const lines = Array.from({ length: height }, (_, n) =>
    folded
      .map((parts, i) => {
        const [text, width] = [parts[n] ?? "", widths[i] ?? 0];
        return shape[i]?.isRight === true ? text.padStart(width) : text.padEnd(width);
      })
      .join(GAP)
      .trimEnd(),
  );
  const why = isLastBeneath ? (line[last] ?? "") : "";
  if (why === "") return lines;
  return [...lines, ...foldText(why, widths[last] ?? 1).map((text) => `${INDENT}${text}`)];
}

/** `key_01k…wxyz`: enough to tell an id from others. */
function shortId(text: string, width: number): string {
  if (text.length <= width) return text;
  return `${text.slice(0, Math.max(0, width - SHORT_ID_END - 1))}…${text.slice(-SHORT_ID_END)}`;
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

/** A text in lines of at most `width` characters, parted at spaces where there are any. */
export function foldText(text: string, width: number): readonly string[] {
  const room = Math.max(1, width);
  const lines: string[] = [];
  let rest = text;
  while (rest.length > room) {
    const space = rest.lastIndexOf(" ", room);
    const end = space > 0 ? space : room;
    lines.push(rest.slice(0, end).trimEnd());
    rest = rest.slice(end).trimStart();
  }
  return [...lines, rest];
}

/** One line of a page in lines of at most `columns`; what goes on stands `indent` further in. */
export function foldLine(line: string, columns: number, indent: number): readonly string[] {
  if (line.length <= columns) return [line];
  const hang = Math.min(indent, Math.floor(columns / 2));
  const start = line.slice(0, hang);
  return foldText(line.slice(hang), columns - hang).map(
    (text, i) => `${i === 0 ? start : " ".repeat(hang)}${text}`,
  );
}
