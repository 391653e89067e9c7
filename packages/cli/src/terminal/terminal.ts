/** Where a command writes and what it may ask of the screen. Tests give one that keeps the text. */
export interface Terminal {
  /** One line of the result, on standard output. */
  line(text: string): void;
  /** One line for the person who watches, on standard error. */
  note(text: string): void;
  /** Replaces the progress line; does nothing where nobody watches. An empty text removes it. */
  progress(text: string): void;
  /** True when standard error is a screen on which a line can be redrawn. */
  readonly isInteractive: boolean;
  /** Characters a line of the screen holds. */
  readonly columns: number;
  /** Characters a line of the result may hold: Infinity in a pipe or a file, where nothing wraps. */
  readonly resultColumns: number;
}

const DEFAULT_COLUMNS = 100;
const MIN_COLUMNS = 40;
const CLEAR_LINE = "\r\u001B[2K";

/** The process's own terminal. */
export function processTerminal(env: Readonly<Record<string, string | undefined>>): Terminal {
  const { stdout, stderr } = process;
  const isInteractive = stderr.isTTY && env["TERM"] !== "dumb" && (env["CI"] ?? "") === "";
  let shown = "";
  const hide = (): void => {
    if (shown !== "") stderr.write(CLEAR_LINE);
  };
  const around = (write: () => void): void => {
    hide();
    write();
    if (shown !== "") stderr.write(shown);
  };
  return {
    line: (text) => around(() => stdout.write(`${text}\n`)),
    note: (text) => around(() => stderr.write(`${text}\n`)),
    progress(text) {
      if (!isInteractive || text === shown) return;
      hide();
      shown = text;
      stderr.write(text);
    },
    isInteractive,
    get columns() {
      return Math.max(MIN_COLUMNS, stdout.columns || stderr.columns || DEFAULT_COLUMNS);
    },
    get resultColumns() {
      if (!stdout.isTTY) return Number.POSITIVE_INFINITY;
      return Math.max(MIN_COLUMNS, stdout.columns || DEFAULT_COLUMNS);
    },
  };
}
