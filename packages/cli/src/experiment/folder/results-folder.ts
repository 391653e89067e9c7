/**
 * The folder of an experiment's results: what was begun, what ended, and which process is at it.
 *
 * I1  One process at a time writes into it.
 * I2  A start or a result is on the disk when its promise resolves; a kill at any point leaves whole
 *     lines and at most one torn one, which the next process cuts off.
 */
import { join } from "node:path";
import {
  createRunLedger,
  foldHistory,
  readResults,
  readStarts,
  recordLine,
  RESULTS_FILE,
  STARTS_FILE,
  type ExperimentHistory,
  type HealthRecord,
  type RecordFile,
  type ResultRecord,
  type RunLedger,
  type StartRecord,
} from "@holdfast/experiments";
import type { Clock } from "@holdfast/runtime";
import { makeFolder, tryFileLock } from "@holdfast/runtime/host";
import { openLineFile, readTextOf, tailOf } from "./line-file.ts";

/** Name of the file of health checks. */
export const HEALTH_FILE = "health_checks.ndjson";
/** Name of the folder of pictures and other outputs. */
export const IMAGES_FOLDER = "images";
/** Name of the folder of what is under way; of no use when no process is at it. */
export const WORK_FOLDER = ".work";
const LOCK_FILE = ".lock";

/** An open folder. */
export interface ResultsFolder {
  readonly path: string;
  /** As it was when it was opened. */
  readonly history: ExperimentHistory;
  /** Lines that are no records though they are whole, in words. */
  readonly damaged: readonly string[];
  /** Of its runs now. */
  readonly runs: Pick<RunLedger, "standing" | "runsThatAre">;
  noteStart(record: StartRecord): Promise<void>;
  noteResult(record: ResultRecord): Promise<void>;
  noteCheck(record: HealthRecord): Promise<void>;
  /** Gives it to whoever wants it. */
  close(): Promise<void>;
}

/** An open folder, or who has it. */
export type OpenedFolder =
  | { readonly kind: "open"; readonly folder: ResultsFolder }
  | { readonly kind: "locked"; readonly pid: number };

/** Opens a folder of results, and makes it where there is none. Throws what the disk says. */
export async function openResultsFolder(path: string, clock: Clock): Promise<OpenedFolder> {
  await makeFolder(join(path, IMAGES_FOLDER));
  const lock = await tryFileLock(join(path, LOCK_FILE), clock);
  if (lock.kind === "theirs") return { kind: "locked", pid: lock.pid };
  try {
    return { kind: "open", folder: await openLocked(path, () => lock.release()) };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function openLocked(path: string, release: () => Promise<void>): Promise<ResultsFolder> {
  const startsPath = join(path, STARTS_FILE);
  const resultsPath = join(path, RESULTS_FILE);
  const checksPath = join(path, HEALTH_FILE);
  const startsText = await readTextOf(startsPath);
  const resultsText = await readTextOf(resultsPath);
  const checksText = await readTextOf(checksPath);
  const starts = readStarts(startsText);
  const results = readResults(resultsText);
  const startsFile = await openLineFile(startsPath, startsText, starts.tail);
  const resultsFile = await openLineFile(resultsPath, resultsText, results.tail);
  const checksFile = await openLineFile(checksPath, checksText, tailOf(checksText));
  const runs = createRunLedger();
  for (const record of starts.records) runs.started(record);
  for (const record of results.records) runs.ended(record);
  return {
    path,
    history: foldHistory(starts.records, results.records),
    damaged: [...damagedLines(STARTS_FILE, starts), ...damagedLines(RESULTS_FILE, results)],
    runs,
    async noteStart(record) {
      await startsFile.append(recordLine(record));
      runs.started(record);
    },
    async noteResult(record) {
      await resultsFile.append(recordLine(record));
      runs.ended(record);
    },
    noteCheck: (record) => checksFile.append(`${JSON.stringify(record)}\n`),
    async close() {
      for (const file of [startsFile, resultsFile, checksFile]) await file.close();
      await release();
    },
  };
}

const DAMAGED_TOLD = 5;

function damagedLines(
  name: string,
  { damaged }: Pick<RecordFile<unknown>, "damaged">,
): readonly string[] {
  const told = damaged
    .slice(0, DAMAGED_TOLD)
    .map(({ line, message }) => `${name}:${line}: ${message}`);
  const left = damaged.length - told.length;
  return left > 0 ? [...told, `${name}: … and ${left} more`] : told;
}
