/** Values of tables take the type of the input they are put into. Pure. */

/** A cell as it is put in, and whether it is of another type than what stood there. */
export interface FittedValue {
  readonly value: unknown;
  /** What was expected; undefined when it fits. */
  readonly misfit?: "a number" | "true or false";
}

/** A number as people write them, also one with zeros before it. */
const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i;
/** A number that cannot be meant as text: `007` and `+1` may be names. */
const PLAIN_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]?\d+)?$/i;
const TRUTH = /^(?:true|false)$/i;

/** Names of inputs that hold text, whatever a value looks like. */
const TEXT_NAME =
  /text|prompt|string|name|prefix|suffix|caption|title|label|clip_l|t5xxl|image|path|file|words/i;

/** What the values of a column have in common, where the graph does not tell a type. */
export type ColumnKind = "number" | "truth" | "text";

/** The kind of a column: all its values must be of it, or they are texts. Null has no value. */
export function kindOfColumn(cells: Iterable<unknown>): ColumnKind {
  let kind: ColumnKind | undefined;
  for (const cell of cells) {
    if (cell === null || typeof cell !== "string") continue;
    const its: ColumnKind = PLAIN_NUMBER.test(cell)
      ? "number"
      : TRUTH.test(cell)
        ? "truth"
        : "text";
    if (its === "text" || (kind !== undefined && kind !== its)) return "text";
    kind = its;
  }
  return kind ?? "text";
}

/** A cell for an input that holds `current`: a text that reads as its type becomes that type. */
export function fitCell(cell: unknown, current: unknown): FittedValue {
  if (typeof current === "number") {
    if (typeof cell === "number") return { value: cell };
    const number = typeof cell === "string" ? toNumber(cell.trim(), NUMBER) : undefined;
    return number === undefined ? { value: cell, misfit: "a number" } : { value: number };
  }
  if (typeof current === "boolean") {
    if (typeof cell === "boolean") return { value: cell };
    const isTruth = typeof cell === "string" && TRUTH.test(cell.trim());
    return isTruth ? { value: toTruth(cell) } : { value: cell, misfit: "true or false" };
  }
  if (typeof current === "string" && (typeof cell === "number" || typeof cell === "boolean")) {
    return { value: String(cell) };
  }
  return { value: cell };
}

/** A cell where the graph does not tell a type, such as at an input that is `{{seed}}` alone. */
export function readByKind<T>(cell: T, kind: ColumnKind): T | string | number | boolean {
  if (typeof cell !== "string" || kind === "text") return cell;
  return kind === "truth" ? toTruth(cell) : (toNumber(cell, PLAIN_NUMBER) ?? cell);
}

/** Whether an input holds text by its name, the last part of `node.input`. */
export function isTextInput(name: string): boolean {
  return TEXT_NAME.test(name.slice(name.lastIndexOf(".") + 1));
}

/** Integers that a number would not hold stay text of the same digits, as everywhere on our wire. */
function toNumber(text: string, shape: RegExp): number | string | undefined {
  if (!shape.test(text)) return undefined;
  const number = Number(text);
  if (/^\d+$/.test(text) && !Number.isSafeInteger(number)) return text;
  return Number.isFinite(number) ? number : undefined;
}

function toTruth(text: string): boolean {
  return text.trim().toLowerCase() === "true";
}
