import { pathText, type YamlPath } from "./finding.ts";
import type { YamlPlaces } from "./yaml-positions.ts";

/** Most problems that are told at once. */
export const PROBLEMS_MAX = 100;

/** Something wrong with a file, and where. */
export interface FileProblem {
  /** `nodes[2].ref`; empty for the whole file. */
  readonly path: string;
  /** From 1. */
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** What was found, with its place. */
export function placed(
  { path, message }: { readonly path: YamlPath; readonly message: string },
  places: YamlPlaces,
  part: "key" | "value",
): FileProblem {
  return { path: pathText(path), ...places.positionOf(path, part), message };
}

/** A problem of the file as a whole. */
export function ofWholeFile(message: string): FileProblem {
  return { path: "", line: 1, column: 1, message };
}

/** In the order of the file, and no more of them than a person reads: the last one says so. */
export function listedProblems(problems: readonly FileProblem[]): readonly FileProblem[] {
  const told = inFileOrder(problems).slice(0, PROBLEMS_MAX);
  const last = told.at(-1);
  if (problems.length <= PROBLEMS_MAX || last === undefined) return told;
  const message = `more than ${PROBLEMS_MAX} problems: the others are not listed`;
  return [...told, { ...last, path: "", message }];
}

/** By line, then by column. */
export function inFileOrder(problems: readonly FileProblem[]): readonly FileProblem[] {
  return [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
}

/** One line a problem: `machine.yaml:12:5: nodes[2].ref: expected …`. */
export function problemLines(problems: readonly FileProblem[], file: string): readonly string[] {
  return problems.map(({ path, line, column, message }) => {
    const at = `${file}:${line}:${column}`;
    return path === "" ? `${at}: ${message}` : `${at}: ${path}: ${message}`;
  });
}
