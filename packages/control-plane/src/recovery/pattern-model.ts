import type { CustomPattern } from "@holdfast/recovery";

/** Where a custom pattern stands: in the table, by the API, or in the file of `HOLDFAST_ERROR_PATTERNS`. */
export type PatternSource = "api" | "file";

/** A custom pattern in use. */
export interface KnownPattern {
  readonly pattern: CustomPattern;
  readonly source: PatternSource;
  /** When it was last written, epoch ms; null for one of the file. */
  readonly updatedAt: number | null;
}

/** The patterns in the order in which they are tried: the table's first, and the file's that it has not. */
export function inOrder(
  table: readonly KnownPattern[],
  file: readonly CustomPattern[],
): readonly KnownPattern[] {
  const names = new Set(table.map(({ pattern }) => pattern.name));
  const others = file
    .filter(({ name }) => !names.has(name))
    .map((pattern) => ({ pattern, source: "file" as const, updatedAt: null }));
  return [...table, ...others];
}
