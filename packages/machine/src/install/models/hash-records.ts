/** What is written down of hashed files: bounded, the longest unused go first. */
import { z } from "zod";
import { isSameFile, type FileIdentity } from "./hash-file.ts";

/** Most files that are remembered, and the largest file of them that is read. */
export const RECORDS_MAX = 20_000;
/** Largest text of them that is read. */
export const RECORDS_TEXT_MAX = 32 * 1024 * 1024;

const recordSchema = z.object({
  sizeBytes: z.int().min(0),
  mtimeNs: z.string().regex(/^-?\d{1,24}$/),
  inode: z.string().regex(/^\d{1,24}$/),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  /** The model that we fetched it as; null for a file of somebody else's. */
  fetchedFor: z.string().max(2_048).nullable(),
});
const fileSchema = z.object({
  version: z.literal(1),
  files: z.record(z.string().max(4_096), z.unknown()),
});

/** A hashed file. */
export type HashRecord = z.infer<typeof recordSchema>;
/** By absolute path, the longest unused first. */
export type HashRecords = Map<string, HashRecord>;

/** Reads them; what cannot be read is left out, for it can be found out anew. */
export function parseHashRecords(text: string): HashRecords {
  const records: HashRecords = new Map();
  if (text.length > RECORDS_TEXT_MAX) return records;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return records;
  }
  const file = fileSchema.safeParse(parsed);
  for (const [path, value] of Object.entries(file.data?.files ?? {})) {
    const record = recordSchema.safeParse(value);
    if (record.success) records.set(path, record.data);
  }
  trimRecords(records);
  return records;
}

/** As they are written. */
export function hashRecordsText(records: HashRecords): string {
  return `${JSON.stringify({ version: 1, files: Object.fromEntries(records) })}\n`;
}

/** The record of a file as it is now; undefined when it changed since. Counts as a use. */
export function useRecord(
  records: HashRecords,
  path: string,
  identity: FileIdentity,
): HashRecord | undefined {
  const record = records.get(path);
  if (record === undefined || !isSameFile(record, identity)) return undefined;
  records.delete(path);
  records.set(path, record);
  return record;
}

/** Adds a record as the newest. */
export function putRecord(records: HashRecords, path: string, record: HashRecord): void {
  records.delete(path);
  records.set(path, record);
  trimRecords(records);
}

function trimRecords(records: HashRecords): void {
  for (const path of records.keys()) {
    if (records.size <= RECORDS_MAX) return;
    records.delete(path);
  }
}
