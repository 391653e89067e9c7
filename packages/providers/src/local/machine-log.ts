/** Keeps the log of a machine within a size, while the machine writes it by itself. */
import { open, rename, rm, stat, truncate } from "node:fs/promises";

/** What a machine prints, in its folder; `.1` beside it is the older part. */
export const LOG_FILE = "machine.log";

const COPY_BYTES = 256 * 1024;

/**
 * When the file is larger than `maxBytes`, puts its latest part, half of that, into `file.1` in place of
 * what was there, and empties the file. The process holds it open for appending, so it is emptied, never
 * renamed; what is printed in the instant between copy and cut is lost. It is emptied too when there is
 * no room for the copy: the disk comes first. What is printed between two looks is beyond the limit.
 */
export async function limitLog(file: string, maxBytes: number): Promise<void> {
  const sizeBytes = await stat(file).then(
    (info) => info.size,
    () => 0,
  );
  if (sizeBytes <= maxBytes) return;
  const part = `${file}.1.new`;
  try {
    await copyEnd(file, part, sizeBytes - Math.floor(maxBytes / 2), maxBytes);
    await rename(part, `${file}.1`);
  } catch {
    await rm(part, { force: true });
  }
  await truncate(file, 0);
}

/** Copies from a place on to the end, which may move on meanwhile; `maxBytes` at most. */
async function copyEnd(file: string, to: string, from: number, maxBytes: number): Promise<void> {
  const source = await open(file, "r");
  try {
    const target = await open(to, "w", 0o600);
    try {
      const buffer = Buffer.alloc(COPY_BYTES);
      for (let copied = 0; copied < maxBytes;) {
        const { bytesRead } = await source.read(buffer, 0, COPY_BYTES, from + copied);
        if (bytesRead === 0) break;
        await target.writeFile(buffer.subarray(0, bytesRead));
        copied += bytesRead;
      }
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}
