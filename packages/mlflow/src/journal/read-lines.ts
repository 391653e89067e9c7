import { open } from "node:fs/promises";

/** The lines of a file; none when there is no file. */
export async function* readLines(path: string): AsyncGenerator<string> {
  let handle;
  try {
    handle = await open(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  try {
    yield* handle.readLines({ autoClose: false });
  } finally {
    await handle.close();
  }
}
