/** Reads the journal from its beginning, a bounded part at a time, as far as it is on the disk. */
import { open } from "node:fs/promises";
import { parseLine, type JournalRecord, type Position } from "./record.ts";
import { segmentPath } from "./segment-files.ts";

/** One line that was read; `record` is null where the line is damaged. */
export interface ReadLine {
  readonly position: Position;
  readonly record: JournalRecord | null;
  readonly sizeBytes: number;
}

/** What is to be read. */
export interface Readable {
  readonly segment: number;
  /** Bytes that may be read by now. */
  readonly endBytes: number;
  /** No more will come. */
  readonly isSealed: boolean;
}

/** Reads on from where it was. */
export interface JournalReader {
  /** The next lines, none when there are no more now. `segments` in their order. */
  read(segments: readonly Readable[]): Promise<readonly ReadLine[]>;
  /** Segments that were read to their end since the last call, with how many lines they have. */
  takeFinished(): readonly { readonly segment: number; readonly lines: number }[];
}

const CHUNK_BYTES = 256 * 1024;
const NEWLINE = 10;

/** Makes a reader. Only one read at a time. */
export function createJournalReader(folder: string): JournalReader {
  let finished: { segment: number; lines: number }[] = [];
  let at = { segment: -1, offset: 0, line: 0 };

  function finish(): void {
    finished.push({ segment: at.segment, lines: at.line });
    at = { segment: at.segment, offset: Number.POSITIVE_INFINITY, line: 0 };
  }
  /** The lines of a part of the segment that it stands in; none when no whole line is there yet. */
  async function readPart(endBytes: number): Promise<ReadLine[]> {
    for (let size = CHUNK_BYTES; ; size *= 2) {
      const length = Math.min(size, endBytes - at.offset);
      if (length <= 0) return [];
      const bytes = await readBytes(segmentPath(folder, at.segment), at.offset, length);
      const lines = split(bytes);
      if (lines.length > 0 || bytes.length < size) return lines;
    }
  }
  function split(bytes: Buffer): ReadLine[] {
    const lines: ReadLine[] = [];
    let from = 0;
    for (let to = bytes.indexOf(NEWLINE); to >= 0; to = bytes.indexOf(NEWLINE, from)) {
      const record = parseLine(bytes.toString("utf8", from, to)) ?? null;
      const position = { segment: at.segment, line: at.line };
      lines.push({ position, record, sizeBytes: to + 1 - from });
      at.line += 1;
      from = to + 1;
    }
    at.offset += from;
    return lines;
  }

  return {
    async read(segments) {
      for (const { segment, endBytes, isSealed } of segments) {
        if (segment < at.segment) continue;
        if (segment > at.segment) at = { segment, offset: 0, line: 0 };
        if (at.offset === Number.POSITIVE_INFINITY) continue;
        const lines = await readPart(endBytes);
        if (lines.length > 0) return lines;
        if (!isSealed) return [];
        // What is left is a line that was never finished: nobody was told that it is kept.
        finish();
      }
      return [];
    },
    takeFinished() {
      const taken = finished;
      finished = [];
      return taken;
    },
  };
}

async function readBytes(path: string, offset: number, length: number): Promise<Buffer> {
  let handle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    // Somebody removed it: then nothing is to be read.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return Buffer.alloc(0);
    throw error;
  }
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, offset);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}
