import type { Terminal } from "./terminal.ts";
import { foldText } from "./text-table.ts";

/** A whole screen that is drawn anew. */
export interface Screen {
  draw(lines: readonly string[]): void;
}

const HOME = "\u001B[H";
const CLEAR_TO_END_OF_LINE = "\u001B[K";
const CLEAR_BELOW = "\u001B[J";
const DEFAULT_ROWS = 24;

/** The process's own screen; null where standard output is none, or nobody watches. */
export function processScreen(
  terminal: Pick<Terminal, "isInteractive" | "columns">,
): Screen | null {
  const { stdout } = process;
  if (!terminal.isInteractive || !stdout.isTTY) return null;
  let isFirst = true;
  return {
    draw(lines) {
      // Everything that stood there is left above: a watcher's history is not wiped out.
      if (isFirst) stdout.write("\n".repeat(stdout.rows || DEFAULT_ROWS));
      isFirst = false;
      stdout.write(screenText(lines, terminal.columns, stdout.rows || DEFAULT_ROWS));
    },
  };
}

/** What goes on in the next line stands so much further in. */
const CONTINUED = 2;

/**
 * What draws lines from the top of a screen. One that is too wide is folded, and their number is cut to
 * the screen's height: one that wraps by itself or scrolls would leave remains.
 */
export function screenText(lines: readonly string[], columns: number, rows: number): string {
  const folded = lines.flatMap((line) => foldOnScreen(line, columns));
  const room = Math.max(1, rows - 1);
  const left = folded.length - room;
  const shown = left > 0 ? [...folded.slice(0, room - 1), `… and ${left + 1} more lines`] : folded;
  return `${HOME}${shown.map((line) => `${line}${CLEAR_TO_END_OF_LINE}\n`).join("")}${CLEAR_BELOW}`;
}

function foldOnScreen(line: string, columns: number): readonly string[] {
  if (line.length <= columns) return [line];
  const start = /^ */.exec(line)?.[0] ?? "";
  const [first = "", ...more] = foldText(line.slice(start.length), columns - start.length);
  const indent = " ".repeat(start.length + CONTINUED);
  const rest = foldText(more.join(" "), columns - indent.length);
  return [`${start}${first}`, ...(more.length === 0 ? [] : rest.map((text) => `${indent}${text}`))];
}
