/** Reads the file of a load run line by line, holding none of its samples. */
import type { z } from "zod";
import type { JobSample } from "../sample/job-sample.ts";
import { loadSummarySchema, type LoadSummary } from "../summary/model.ts";
import { loadTimelineSchema, type LoadTimeline } from "../summary/timeline-model.ts";
import { LOAD_FILE_VERSION } from "./load-file.ts";
import { createRowReader, type RowReader } from "./sample-row.ts";

/** What came of reading a file. */
export type LoadFileReading =
  | {
      readonly kind: "ok";
      readonly summary: LoadSummary;
      readonly timeline: LoadTimeline;
      readonly samples: number;
    }
  /** Every problem with its line, the first twenty of them. */
  | { readonly kind: "invalid"; readonly problems: readonly string[] };

/** Problems that are told. */
const PROBLEMS_MAX = 20;
/** Longest line that is parsed: a summary of a hundred workflows has some 100 KB. */
const LINE_LENGTH_MAX = 16 * 1024 * 1024;
const REWRITTEN =
  "expected the lines that `holdfast load` writes; a file that another program laid out anew cannot be read";

/**
 * Reads the lines of a file, without their ends, and hands each sample on. Samples before a problem were
 * handed on already: they are worth nothing where the answer is `invalid`.
 */
export async function readLoadFile(
  lines: AsyncIterable<string> | Iterable<string>,
  onSample: (sample: JobSample) => void,
): Promise<LoadFileReading> {
  const reader = createReader(onSample);
  for await (const line of lines) {
    reader.take(line);
    if (reader.isDone()) break;
  }
  return reader.end();
}

interface Reader {
  take(line: string): void;
  isDone(): boolean;
  end(): LoadFileReading;
}

function createReader(onSample: (sample: JobSample) => void): Reader {
  const problems = createProblems();
  const head = createHead(problems);
  const rows = createRows(problems, onSample);
  return {
    take(line) {
      const at = problems.nextLine();
      const text = line.endsWith("\r") ? line.slice(0, -1) : line;
      if (text.length > LINE_LENGTH_MAX) {
        problems.stop(`expected at most ${LINE_LENGTH_MAX} characters`);
      } else if (at <= HEAD_LINES) {
        head.take(at, text);
      } else {
        rows.take(text, head.rowReader());
      }
    },
    isDone: () => problems.isStopped(),
    end() {
      if (!problems.isStopped() && !rows.isWhole()) {
        problems.stop(
          problems.nextLine() === 1
            ? "the file is empty: expected the file of a load run"
            : "the file ends in the middle: the run, or a copy of the file, was cut off",
        );
      }
      const { summary, timeline } = head.read();
      return problems.list().length > 0 || summary === undefined || timeline === undefined
        ? { kind: "invalid", problems: problems.list() }
        : { kind: "ok", summary, timeline, samples: rows.count() };
    },
  };
}

interface Problems {
  /** The number of the line that is looked at from now on. */
  nextLine(): number;
  tell(problem: string): void;
  /** What comes after cannot be understood any more. */
  stop(problem: string): void;
  isStopped(): boolean;
  list(): readonly string[];
}

function createProblems(): Problems {
  const told: string[] = [];
  let line = 0;
  let isStopped = false;
  const tell = (problem: string): void => {
    told.push(`line ${line}: ${problem}`);
    if (told.length >= PROBLEMS_MAX) isStopped = true;
  };
  return {
    nextLine: () => (line += 1),
    tell,
    stop(problem) {
      tell(problem);
      isStopped = true;
    },
    isStopped: () => isStopped,
    list: () => told,
  };
}

/** Summary, timeline, columns, and the line that opens the samples. */
const HEAD_LINES = 4;

function createHead(problems: Problems) {
  let summary: LoadSummary | undefined;
  let timeline: LoadTimeline | undefined;
  let rowReader: RowReader | undefined;
  const takeSummary = (line: string): void => {
    const value = parsed(line.endsWith(",") ? `${line.slice(0, -1)}}` : line);
    if (!isObject(value) || !("version" in value)) return problems.stop(REWRITTEN);
    const { version } = value;
    if (version !== LOAD_FILE_VERSION) {
      const found = JSON.stringify(version);
      return problems.stop(
        `version: expected ${LOAD_FILE_VERSION}, found ${found}: it is no file of holdfast load, or of a newer one`,
      );
    }
    if (!line.endsWith(",")) return problems.stop(REWRITTEN);
    summary = fitting(value["summary"], loadSummarySchema, "summary", problems);
  };
  const takeTimeline = (line: string): void => {
    const value = memberOf(line, "timeline");
    if (value === undefined) problems.stop(REWRITTEN);
    else timeline = fitting(value, loadTimelineSchema, "timeline", problems);
  };
  const takeColumns = (line: string): void => {
    const value = memberOf(line, "columns");
    const reader = value === undefined ? REWRITTEN : createRowReader(value);
    if (typeof reader === "string") problems.stop(reader);
    else rowReader = reader;
  };
  return {
    take(at: number, line: string): void {
      if (at === 1) takeSummary(line);
      else if (at === 2) takeTimeline(line);
      else if (at === 3) takeColumns(line);
      else if (line !== '"samples":[') problems.stop(REWRITTEN);
    },
    rowReader: () => rowReader,
    read: () => ({ summary, timeline }),
  };
}

function createRows(problems: Problems, onSample: (sample: JobSample) => void) {
  let samples = 0;
  let rows = 0;
  /** The row before had no comma. */
  let isLast = false;
  let isWhole = false;
  const takeRow = (line: string, reader: RowReader | undefined): void => {
    if (isLast) {
      return problems.stop("expected the end of the samples, or a comma after the one before");
    }
    rows += 1;
    isLast = !line.endsWith(",");
    const value = parsed(isLast ? line : line.slice(0, -1));
    const read = reader?.read(value) ?? REWRITTEN;
    if (typeof read === "string") return problems.tell(read);
    samples += 1;
    onSample(read);
  };
  return {
    take(line: string, reader: RowReader | undefined): void {
      if (isWhole) {
        if (line.trim() !== "") problems.stop("expected nothing after the end of the samples");
      } else if (line === "]}") {
        if (rows > 0 && !isLast) problems.tell("expected another sample after the comma");
        isWhole = true;
      } else {
        takeRow(line, reader);
      }
    },
    isWhole: () => isWhole,
    count: () => samples,
  };
}

/** The value of a line such as `"columns":[…],`. */
function memberOf(line: string, name: string): unknown {
  if (!line.endsWith(",")) return undefined;
  const value = parsed(`{${line.slice(0, -1)}}`);
  return isObject(value) ? value[name] : undefined;
}

function fitting<Value>(
  value: unknown,
  schema: z.ZodType<Value>,
  name: string,
  problems: Problems,
): Value | undefined {
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  const path = read.error.issues[0]?.path.map((part) => String(part)) ?? [];
  problems.tell(`${[name, ...path].join(".")}: expected what \`holdfast load\` writes there`);
  return undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Which problem that is depends on the line.
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
