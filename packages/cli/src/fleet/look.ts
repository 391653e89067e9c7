/** What pages are made by. */
export interface Look {
  /** Epoch ms. */
  readonly now: number;
  /** Characters that a line holds; Infinity where nobody watches. */
  readonly columns: number;
}

/** What belongs to a line above stands further in. */
const INDENT = "  ";

/** The lines of a section, made for what room is left beside its indent. */
export function indented(
  look: Look,
  toLines: (look: Look) => readonly string[],
): readonly string[] {
  const inner = { ...look, columns: look.columns - INDENT.length };
  return toLines(inner).map((line) => `${INDENT}${line}`);
}
