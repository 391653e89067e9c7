/**
 * What is kept of an experiment's runs, one JSON line each: `results.ndjson` for those that ended,
 * `starts.ndjson` for those that began, so that what was in flight at a crash is known.
 *
 * I1: a start is on disk before its prompt is posted, a result before anything is told of it.
 * I2: lines are only ever added; of two results of one run, `completed` wins, otherwise the later.
 */
import { assertNever } from "@holdfast/runtime";
import { z } from "zod";

/** Name of the file of ended runs. */
export const RESULTS_FILE = "results.ndjson";
/** Name of the file of begun runs. */
export const STARTS_FILE = "starts.ndjson";

const instant = z.iso.datetime({ precision: 3 });
const scalar = z.union([z.string(), z.number(), z.boolean()]);

const startSchema = z.looseObject({
  index: z.int().min(0),
  /** The how many-th start of this run, from 1. */
  attempt: z.int().min(1),
  /** ComfyUI's prompt or Holdfast's job, where it is looked up after a crash. */
  promptId: z.string().min(1),
  startedAt: instant,
});

const resultSchema = z.looseObject({
  index: z.int().min(0),
  name: z.string(),
  title: z.string(),
  attempt: z.int().min(1),
  promptId: z.string().nullable(),
  seed: z.union([z.number(), z.string()]),
  /** By dimension. */
  values: z.record(z.string(), scalar),
  status: z.enum(["completed", "failed"]),
  startedAt: instant,
  endedAt: instant,
  durationMs: z.number().min(0),
  error: z
    .looseObject({
      class: z.string(),
      message: z.string(),
      /** Failed because a service was down: worth doing again, the run itself may be fine. */
      isInfrastructure: z.boolean(),
      /** Where it happened: absent where no node is to blame, and in older records. */
      nodeId: z.string().optional(),
      nodeType: z.string().optional(),
      /** As Python calls it: `RuntimeError`, `torch.OutOfMemoryError`. */
      exceptionType: z.string().optional(),
      /** Its end, which names the place. */
      traceback: z.string().optional(),
    })
    .nullable(),
  /** What recovery did, in its order; empty where nothing was needed. */
  recovery: z.array(z.string()),
  outputs: z.array(
    z.looseObject({
      /** Below the experiment's folder, or a URL of the store. */
      stored: z.string(),
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
      sizeBytes: z.int().min(0),
    }),
  ),
  /** `vram_peak_mb`, `queue_seconds`, …, and what somebody rated. */
  metrics: z.record(z.string(), z.number()),
});

/** A run that began. */
export type StartRecord = z.infer<typeof startSchema>;
/** A run that ended. Members of a later version are kept. */
export type ResultRecord = z.infer<typeof resultSchema>;

/** How a run ended; `down`: because a service was down. */
export type RunEnd = "completed" | "failed" | "down";

/** How the run of a record ended. */
export function runEnd({ status, error }: Pick<ResultRecord, "status" | "error">): RunEnd {
  if (status === "completed") return "completed";
  return error?.isInfrastructure === true ? "down" : "failed";
}

/** A file of records, read. */
export interface RecordFile<Value> {
  readonly records: readonly Value[];
  /** Lines that are no records, though they are whole: somebody changed the file. */
  readonly damaged: readonly { readonly line: number; readonly message: string }[];
  readonly tail: FileTail;
}

/** How a file ends, and what has to be done before a line is added. */
export type FileTail =
  | { readonly kind: "whole" }
  /** The last line is whole but for its end: add one. */
  | { readonly kind: "unended" }
  /** A crash tore the last line: cut the file to the text's first so many characters. */
  | { readonly kind: "torn"; readonly soundLength: number };

/** Reads `results.ndjson`. */
export function readResults(text: string): RecordFile<ResultRecord> {
  return readRecords(text, resultSchema);
}

/** Reads `starts.ndjson`. */
export function readStarts(text: string): RecordFile<StartRecord> {
  return readRecords(text, startSchema);
}

/** A record as its line, the line's end included. */
export function recordLine(record: ResultRecord | StartRecord): string {
  return `${JSON.stringify(record)}\n`;
}

function readRecords<Value>(text: string, schema: z.ZodType<Value>): RecordFile<Value> {
  const records: Value[] = [];
  const damaged: { line: number; message: string }[] = [];
  const lines = text.split("\n");
  const last = lines.pop() ?? "";
  for (const [at, line] of lines.entries()) {
    const read = readLine(line, schema);
    if (read.kind === "record") records.push(read.value);
    else if (read.kind === "damaged") damaged.push({ line: at + 1, message: read.message });
  }
  const end = readLine(last, schema);
  switch (end.kind) {
    case "empty":
      // White space at the end is nothing's beginning: it goes as well.
      return { records, damaged, tail: last === "" ? { kind: "whole" } : torn(text, last) };
    case "record":
      // A line that parses is whole: no shorter text of it would.
      return { records: [...records, end.value], damaged, tail: { kind: "unended" } };
    case "damaged":
      return { records, damaged, tail: torn(text, last) };
    default:
      return assertNever(end);
  }
}

function torn(text: string, last: string): FileTail {
  return { kind: "torn", soundLength: text.length - last.length };
}

type LineReading<Value> =
  | { readonly kind: "record"; readonly value: Value }
  | { readonly kind: "empty" }
  | { readonly kind: "damaged"; readonly message: string };

function readLine<Value>(line: string, schema: z.ZodType<Value>): LineReading<Value> {
  if (line.trim() === "") return { kind: "empty" };
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return { kind: "damaged", message: "expected one JSON object, found something else" };
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return { kind: "record", value: parsed.data };
  const path = parsed.error.issues[0]?.path.map((part) => String(part)).join(".") ?? "";
  return { kind: "damaged", message: `expected a record, found something else at "${path}"` };
}
