/** The journal of one folder: files that are written at the end and removed at the beginning. */
import { rm } from "node:fs/promises";
import { createJournalReader, type Readable, type ReadLine } from "./reader.ts";
import type { JournalRecord } from "./record.ts";
import { listSegments, segmentPath, syncFolder } from "./segment-files.ts";
import { createJournalWriter, type Kept } from "./writer.ts";

/** Records on their way to the disk, and from there to whoever delivers them. */
export interface Journal {
  /** Resolves when the disk has all of them, or could not take them. */
  append(records: readonly JournalRecord[]): Promise<Kept>;
  /** The next lines, none when there are no more now. One call at a time. */
  read(): Promise<readonly ReadLine[]>;
  /** Segments that were read to their end since the last call. */
  takeFinished(): readonly { readonly segment: number; readonly lines: number }[];
  /** Removes the file of a segment. */
  remove(segment: number): Promise<void>;
  /** Whether a segment was there before this process wrote any. */
  isInherited(segment: number): boolean;
  /** Lines of files that were there at the beginning, by segment. */
  readonly inherited: ReadonlyMap<number, number>;
  /** Bytes in all its files. */
  readonly sizeBytes: number;
  close(): Promise<void>;
}

/** How to open a journal. */
export interface JournalOptions {
  readonly folder: string;
  /** Numbers up to this one were used. */
  readonly lastDropped: number;
  readonly segmentBytes: number;
  readonly maxBytes: number;
  /** Called when so many new records can be read. */
  readonly onDurable: (records: number) => void;
}

/** Opens the journal of a folder that is there. */
export async function openJournal(options: JournalOptions): Promise<Journal> {
  const { folder, lastDropped, segmentBytes, maxBytes, onDurable } = options;
  const files = new Map((await listSegments(folder)).map((file) => [file.segment, file]));
  const firstSegment = Math.max(lastDropped, 0, ...files.keys()) + 1;
  let sizeBytes = [...files.values()].reduce((sum, file) => sum + file.sizeBytes, 0);
  const writer = createJournalWriter({
    folder,
    firstSegment,
    segmentBytes,
    hasRoom: (bytes) => sizeBytes + bytes <= maxBytes,
    onDurable: (records, bytes) => {
      sizeBytes += bytes;
      onDurable(records);
    },
  });
  const reader = createJournalReader(folder);

  function readable(): Readable[] {
    const old = [...files.values()].map(({ segment, sizeBytes: endBytes }) => ({
      segment,
      endBytes,
      isSealed: true,
    }));
    const own = [...writer.own].map(([segment, { durableBytes: endBytes, isSealed }]) => ({
      segment,
      endBytes,
      isSealed,
    }));
    return [...old, ...own];
  }
  return {
    append: (records) => writer.append(records),
    read: () => reader.read(readable()),
    takeFinished: () => reader.takeFinished(),
    async remove(segment) {
      await rm(segmentPath(folder, segment), { force: true });
      await syncFolder(folder);
      sizeBytes -= files.get(segment)?.sizeBytes ?? writer.own.get(segment)?.durableBytes ?? 0;
      files.delete(segment);
      writer.forget(segment);
    },
    isInherited: (segment) => segment < firstSegment,
    inherited: new Map([...files].map(([segment, { lines }]) => [segment, lines])),
    get sizeBytes() {
      return sizeBytes;
    },
    close: () => writer.close(),
  };
}
