/** One row. */
export interface TableRow {
  /** What its writer calls it: `line 4` of a CSV, `row 3` of rows. */
  readonly where: string;
  /** By the table's columns; null has no value. */
  readonly cells: readonly unknown[];
}

/** A table: each column once, and in every row a cell for it. */
export interface Table {
  /** Whether its values have types of their own: in CSV all are texts. */
  readonly isTyped: boolean;
  readonly columns: readonly string[];
  readonly rows: readonly TableRow[];
}
