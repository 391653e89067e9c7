/** What the journal holds: one line of JSON a record, each safe to deliver twice. */
import { z } from "zod";

/** Longest key of a run, characters. */
export const RUN_KEY_MAX = 200;
/** Entries of one kind in one record: what one `log-batch` takes of params and of tags. */
export const RECORD_ENTRIES_MAX = 100;

const key = z.string().min(1).max(RUN_KEY_MAX);
const at = z.number().int().nonnegative();
const pair = z.tuple([z.string(), z.string()]);
const value = z.union([z.number(), z.enum(["NaN", "Infinity", "-Infinity"])]);
const metric = z.tuple([z.string(), value, at, z.number().int()]);

const startSchema = z.object({
  t: z.literal("start"),
  key,
  name: z.string(),
  at,
  parent: key.optional(),
});
const dataSchema = z.object({
  t: z.literal("data"),
  key,
  params: z.array(pair).max(RECORD_ENTRIES_MAX).default([]),
  tags: z.array(pair).max(RECORD_ENTRIES_MAX).default([]),
  metrics: z.array(metric).max(RECORD_ENTRIES_MAX).default([]),
});
const artifactSchema = z.object({
  t: z.literal("artifact"),
  key,
  path: z.string(),
  file: z.string(),
});
const endSchema = z.object({
  t: z.literal("end"),
  key,
  status: z.enum(["FINISHED", "FAILED", "KILLED"]),
  at,
});
const recordSchema = z.discriminatedUnion("t", [
  startSchema,
  dataSchema,
  artifactSchema,
  endSchema,
]);

/** A run begins: made in MLflow unless it is there. `parent` is the key of another run. */
export type StartRecord = z.infer<typeof startSchema>;
/** Params, tags and metrics, by MLflow's names, each short enough for MLflow. */
export type DataRecord = z.infer<typeof dataSchema>;
/** A file, by reference. `file` is relative to the journal's folder where it lies near it. */
export type ArtifactRecord = z.infer<typeof artifactSchema>;
/** A run has ended. */
export type EndRecord = z.infer<typeof endSchema>;
/** One line. */
export type JournalRecord = z.infer<typeof recordSchema>;

/** Where a record stands: the number of its file and its line, from 0. */
export interface Position {
  readonly segment: number;
  readonly line: number;
}

/** The line of a record, with its end. */
export function toLine(record: JournalRecord): string {
  return `${JSON.stringify(record)}\n`;
}

/** Reads a line; undefined for one that is damaged. */
export function parseLine(line: string): JournalRecord | undefined {
  try {
    const parsed = recordSchema.safeParse(JSON.parse(line));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
