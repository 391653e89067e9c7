/** A sample as a row of a run's file: values in the order of the file's columns. */
import { SAMPLE_OUTCOMES, type JobSample } from "../sample/job-sample.ts";

type Column = keyof JobSample;

/** What a column's values are, in words and by check. */
interface ColumnKind {
  readonly words: string;
  fits(value: unknown): boolean;
}

const isAmount = (value: unknown): boolean =>
  typeof value === "number" && Number.isFinite(value) && value >= 0;
const COUNT: ColumnKind = {
  words: "a whole number from 0",
  fits: (value) => Number.isSafeInteger(value) && isAmount(value),
};
const AMOUNT: ColumnKind = { words: "a number from 0", fits: isAmount };
const MAYBE_AMOUNT: ColumnKind = {
  words: "a number from 0, or null",
  fits: (value) => value === null || isAmount(value),
};
const FLAG: ColumnKind = {
  words: "true or false",
  fits: (value) => typeof value === "boolean",
};

const COLUMNS: Readonly<Record<Column, ColumnKind>> = {
  index: COUNT,
  workflow: { words: "a text", fits: (value) => typeof value === "string" },
  level: AMOUNT,
  intendedMs: AMOUNT,
  begunMs: AMOUNT,
  acceptedMs: MAYBE_AMOUNT,
  startedMs: MAYBE_AMOUNT,
  loadedMs: MAYBE_AMOUNT,
  executedMs: MAYBE_AMOUNT,
  endedMs: AMOUNT,
  outcome: {
    words: `one of ${SAMPLE_OUTCOMES.join(", ")}`,
    fits: (value) => SAMPLE_OUTCOMES.some((outcome) => outcome === value),
  },
  errorClass: {
    words: "a text, or null",
    fits: (value) => value === null || typeof value === "string",
  },
  retries: COUNT,
  changed: FLAG,
  outputs: COUNT,
  bytes: COUNT,
  warmUp: FLAG,
};

/** Columns of a row, in the order in which they are written. */
export const SAMPLE_COLUMNS = Object.keys(COLUMNS) as readonly Column[];

const TIMES = [
  "intendedMs",
  "begunMs",
  "acceptedMs",
  "startedMs",
  "loadedMs",
  "executedMs",
  "endedMs",
] as const satisfies readonly Column[];

/** The row of a sample. */
export function toRow(sample: JobSample): readonly unknown[] {
  return SAMPLE_COLUMNS.map((column) => sample[column]);
}

/** Reads the rows of a file with these columns; those that nobody knows are passed over. */
export interface RowReader {
  /** The sample, or what is wrong with its row. */
  read(row: unknown): JobSample | string;
}

/** A reader for the columns of a file; or, where one is missing, what is wrong with them. */
export function createRowReader(columns: unknown): RowReader | string {
  if (!Array.isArray(columns)) return "columns: expected a list of names";
  const missing = SAMPLE_COLUMNS.filter((column) => !columns.includes(column));
  if (missing.length > 0) return `columns: expected also ${missing.join(", ")}`;
  const places = SAMPLE_COLUMNS.map((column) => [column, columns.indexOf(column)] as const);
  return {
    read(row) {
      if (!Array.isArray(row) || row.length !== columns.length) {
        return `expected a list of ${columns.length} values`;
      }
      const sample: Record<string, unknown> = {};
      for (const [column, place] of places) {
        const value: unknown = row[place];
        if (!COLUMNS[column].fits(value)) {
          return `${column}: expected ${COLUMNS[column].words}, found ${JSON.stringify(value)}`;
        }
        sample[column] = value;
      }
      // Every column was checked against its kind.
      return inOrder(sample as unknown as JobSample);
    },
  };
}

/** Phases of a sample that goes back in time would be negative. */
function inOrder(sample: JobSample): JobSample | string {
  let before = 0;
  for (const time of TIMES) {
    const ms = sample[time];
    if (ms === null) continue;
    if (ms < before) return `${time}: expected ${before} or later, found ${ms}`;
    before = ms;
  }
  return sample;
}
