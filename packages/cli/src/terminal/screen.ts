import type { Terminal } from "./terminal.ts";
import { shorten } from "./text-table.ts";

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

/**
 * What draws lines from the top of a screen. Lines are cut to its width and their number to its height:
 * one that wraps or scrolls would leave remains.
 */
export function screenText(lines: readonly string[], columns: number, rows: number): string {
  const room = Math.max(1, rows - 1);
  const left = lines.length - room;
  const shown = left > 0 ? [...lines.slice(0, room - 1), `… and ${left + 1} more lines`] : lines;
  const cut = shown.map((line) => `${shorten(line, columns)}${CLEAR_TO_END_OF_LINE}\n`);
  return `${HOME}${cut.join("")}${CLEAR_BELOW}`;
}
