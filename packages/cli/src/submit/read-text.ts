import { readFile, stat } from "node:fs/promises";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";

/** Largest file read. */
const MAX_FILE_BYTES = 256 * 1024 * 1024;

/** The text of a file, or of standard input for `-`. Throws {@link CommandFailure} where there is none. */
export async function readText(file: string): Promise<string> {
  if (file === "-") {
    const chunks: Buffer[] = [];
    let sizeBytes = 0;
    for await (const chunk of process.stdin) {
      const bytes = chunk as Buffer;
      sizeBytes += bytes.length;
      if (sizeBytes > MAX_FILE_BYTES) throw tooLarge("standard input");
      chunks.push(bytes);
    }
    return Buffer.concat(chunks).toString("utf8");
  }
  const info = await stat(file).catch((cause: unknown) => {
    throw new CommandFailure(EXIT.refused, `there is no file ${file}`, { cause });
  });
  if (!info.isFile()) throw new CommandFailure(EXIT.refused, `${file} is not a file`);
  if (info.size > MAX_FILE_BYTES) throw tooLarge(file);
  return await readFile(file, "utf8");
}

function tooLarge(source: string): CommandFailure {
  return new CommandFailure(
    EXIT.refused,
    `${source} is larger than ${MAX_FILE_BYTES / 1024 / 1024} MB: that is no workflow and no book`,
  );
}
