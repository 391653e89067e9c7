import { appendFile, open, readFile, truncate } from "node:fs/promises";
import { dirname } from "node:path";
import type { FileTail } from "@holdfast/experiments";

/** A file of lines that only grows. */
export interface LineFile {
  /** Resolves when the line, its end included, is on the disk. Lines keep the order of the calls. */
  append(line: string): Promise<void>;
  close(): Promise<void>;
}

/** A file that is missing has no text. */
export async function readTextOf(path: string): Promise<string> {
  return await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "";
    throw error;
  });
}

/**
 * Opens a file for more lines, after what a crash left of its last one was mended: `text` is what was
 * read of it, `tail` what its reader found at the end.
 */
export async function openLineFile(path: string, text: string, tail: FileTail): Promise<LineFile> {
  if (tail.kind === "torn") {
    // The reader counts characters, the disk bytes.
    await truncate(path, Buffer.byteLength(text.slice(0, tail.soundLength)));
  } else if (tail.kind === "unended") {
    await appendFile(path, "\n");
  }
  const file = await open(path, "a");
  await syncFolder(dirname(path));
  let last: Promise<void> = Promise.resolve();
  const write = async (line: string): Promise<void> => {
    await file.writeFile(line);
    await file.datasync();
  };
  return {
    append(line) {
      const written = last.then(() => write(line));
      last = written.catch(() => undefined); // Whoever appended it is told.
      return written;
    },
    async close() {
      await last;
      await file.close();
    },
  };
}

/** The end of a file whose lines are JSON and nothing more is asked of them. */
export function tailOf(text: string): FileTail {
  const last = text.slice(text.lastIndexOf("\n") + 1);
  if (last === "") return { kind: "whole" };
  try {
    JSON.parse(last);
    return { kind: "unended" };
  } catch {
    return { kind: "torn", soundLength: text.length - last.length };
  }
}

/** Brings names of new files to the disk; where folders cannot be synced (Windows), nothing is done. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r").catch(() => undefined);
  await folder?.sync().catch(() => undefined);
  await folder?.close();
}
