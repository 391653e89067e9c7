/** The journal's files: `journal-00000001.ndjson` and on, each written by one life of one process. */
import { createReadStream } from "node:fs";
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";

/** A file of the journal. */
export interface SegmentFile {
  readonly segment: number;
  readonly path: string;
  readonly sizeBytes: number;
  /** Whole lines in it. */
  readonly lines: number;
}

const NAME = /^journal-(\d{8,15})\.ndjson$/;
const NEWLINE = 10;

/** The path of a segment. */
export function segmentPath(folder: string, segment: number): string {
  return join(folder, `journal-${String(segment).padStart(8, "0")}.ndjson`);
}

/** The segments of a folder, oldest first, with their lines counted. */
export async function listSegments(folder: string): Promise<SegmentFile[]> {
  const numbers = (await readdir(folder))
    .flatMap((name) => NAME.exec(name)?.[1] ?? [])
    .map(Number)
    .toSorted((a, b) => a - b);
  const files: SegmentFile[] = [];
  for (const segment of numbers) {
    const path = segmentPath(folder, segment);
    const { size } = await stat(path);
    files.push({ segment, path, sizeBytes: size, lines: await countLines(path) });
  }
  return files;
}

async function countLines(path: string): Promise<number> {
  let lines = 0;
  for await (const chunk of createReadStream(path)) {
    const bytes = chunk as Buffer;
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) lines += 1;
  }
  return lines;
}

/** Has the names in a folder survive a power cut: of a file just made, renamed or removed. */
export async function syncFolder(folder: string): Promise<void> {
  // Windows has no such thing.
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
