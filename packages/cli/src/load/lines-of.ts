import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";

/**
 * The lines of a file, without their ends. It is opened when the first one is asked for: `readline` drops what
 * it reads before somebody iterates over it, and then never ends.
 */
export async function* linesOf(path: string): AsyncGenerator<string, void, undefined> {
  yield* createInterface({ input: createReadStream(path), crlfDelay: Infinity });
}
