import type { Terminal } from "../src/terminal/terminal.ts";

/** A terminal that keeps what was written. */
export interface RecordingTerminal extends Terminal {
  /** Standard output. */
  readonly lines: string[];
  /** Standard error. */
  readonly notes: string[];
}

/** Makes one; nobody watches it. */
export function recordingTerminal(): RecordingTerminal {
  const lines: string[] = [];
  const notes: string[] = [];
  return {
    lines,
    notes,
    line: (text) => void lines.push(text),
    note: (text) => void notes.push(text),
    progress: () => undefined,
    isInteractive: false,
    columns: 100,
    resultColumns: 100,
  };
}
