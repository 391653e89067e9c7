/**
 * Writes the journal. Records that come while a write is under way go out together in the next one, and
 * are told as kept when the disk has them.
 *
 * W1  A file is appended to by the process that made it alone: a line that a crash tore stays the last of
 *     its file, and nothing is ever glued to it.
 * W2  After a failed write the file is left: the next record begins another one.
 * W3  Readers see no byte that was not synced.
 */
import { open, type FileHandle } from "node:fs/promises";
import { toLine, type JournalRecord } from "./record.ts";
import { segmentPath, syncFolder } from "./segment-files.ts";

/** Whether the disk has what was logged. */
export type Kept =
  | { readonly kind: "kept" }
  /** The disk is full or broken, or the journal has reached its limit; the record is not logged. */
  | { readonly kind: "not_kept"; readonly message: string };

/** A file of this process, as far as it is on the disk. */
export interface OwnSegment {
  durableBytes: number;
  isSealed: boolean;
}

/** Appends to the journal. */
export interface JournalWriter {
  append(records: readonly JournalRecord[]): Promise<Kept>;
  /** What this process has written, by segment. */
  readonly own: ReadonlyMap<number, OwnSegment>;
  /** Its file is gone. */
  forget(segment: number): void;
  /** No more is taken; resolves when what was taken is on the disk, or could not be brought there. */
  close(): Promise<void>;
}

/** How to write. */
export interface WriterOptions {
  readonly folder: string;
  readonly firstSegment: number;
  /** A file is followed by another one at this size. */
  readonly segmentBytes: number;
  /** Whether so many bytes more are allowed. */
  readonly hasRoom: (bytes: number) => boolean;
  /** Called after each write, with how many records and bytes are new. */
  readonly onDurable: (records: number, bytes: number) => void;
}

interface Waiting {
  readonly text: string;
  readonly records: number;
  readonly settle: (kept: Kept) => void;
}

/** Bytes of one write: what waits longer goes out in the next one. */
const WRITE_BYTES_MAX = 1024 * 1024;

/** Makes the writer. Nothing is touched before the first record. */
export function createJournalWriter(options: WriterOptions): JournalWriter {
  const { hasRoom, onDurable } = options;
  const own = new Map<number, OwnSegment>();
  const waiting: Waiting[] = [];
  const files = createFiles(options, own);
  let isClosed = false;
  let isWriting = false;
  const idle: (() => void)[] = [];

  async function write(batch: readonly Waiting[]): Promise<Kept> {
    const bytes = Buffer.from(batch.map(({ text }) => text).join(""), "utf8");
    const records = batch.reduce((sum, one) => sum + one.records, 0);
    if (!hasRoom(bytes.length)) {
      return { kind: "not_kept", message: "the journal for MLflow has reached its size limit" };
    }
    try {
      const { handle, state } = await files.current();
      await handle.writeFile(bytes);
      await handle.datasync();
      state.durableBytes += bytes.length;
      onDurable(records, bytes.length);
      return { kind: "kept" };
    } catch (error) {
      await files.leave().catch(() => undefined);
      const message = `the journal for MLflow cannot be written: ${(error as Error).message}`;
      return { kind: "not_kept", message };
    }
  }
  async function drain(): Promise<void> {
    for (let batch = take(); batch.length > 0; batch = take()) {
      const kept = await write(batch);
      for (const { settle } of batch) settle(kept);
    }
    // In the same turn as the last look: what is appended after this begins anew.
    isWriting = false;
    for (const wake of idle.splice(0)) wake();
  }
  function take(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { text } of waiting) {
      bytes += text.length;
      if (count > 0 && bytes > WRITE_BYTES_MAX) break;
      count += 1;
    }
    return waiting.splice(0, count);
  }
  function begin(): void {
    if (isWriting) return;
    isWriting = true;
    void drain();
  }

  return {
    own,
    forget: (segment) => void own.delete(segment),
    append(records) {
      if (isClosed) return Promise.resolve({ kind: "not_kept", message: "the log is closed" });
      return new Promise((settle) => {
        waiting.push({ text: records.map(toLine).join(""), records: records.length, settle });
        begin();
      });
    },
    async close() {
      isClosed = true;
      if (isWriting) await new Promise<void>((resolve) => void idle.push(resolve));
      await files.leave();
    },
  };
}

/** The file that is written, and the next one. */
function createFiles(
  { folder, firstSegment, segmentBytes }: WriterOptions,
  own: Map<number, OwnSegment>,
) {
  let next = firstSegment;
  let now: { readonly handle: FileHandle; readonly state: OwnSegment } | undefined;
  async function leave(): Promise<void> {
    if (now === undefined) return;
    const { handle, state } = now;
    now = undefined;
    state.isSealed = true;
    await handle.close();
  }
  return {
    leave,
    async current() {
      if (now !== undefined && now.state.durableBytes >= segmentBytes) await leave();
      if (now !== undefined) return now;
      const segment = next;
      next += 1;
      const handle = await open(segmentPath(folder, segment), "wx", 0o600);
      const state: OwnSegment = { durableBytes: 0, isSealed: false };
      own.set(segment, state);
      const opened = { handle, state };
      now = opened;
      await syncFolder(folder);
      return opened;
    },
  };
}
