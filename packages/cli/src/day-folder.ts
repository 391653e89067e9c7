import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder } from "@holdfast/runtime/host";
import { CommandFailure } from "./command-failure.ts";
import { EXIT } from "./exit-codes.ts";

/** Folders of one day. */
const A_DAY_MAX = 1_000;

/**
 * Makes a folder of today that was not there: `2026-11-28`, and `2026-11-28-2` for the next of the day, so
 * that nothing is written over. Throws {@link CommandFailure} where none can be made.
 */
export async function makeDayFolder(
  parent: string,
  nowMs: number,
): Promise<{ readonly name: string; readonly path: string }> {
  const day = localDay(nowMs);
  try {
    await makeFolder(parent);
    for (let number = 1; number <= A_DAY_MAX; number += 1) {
      const name = number === 1 ? day : `${day}-${number}`;
      const path = join(parent, name);
      try {
        await mkdir(path);
        return { name, path };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `--root: ${parent} cannot be written: ${reason}. Nothing was sent.`;
    throw new CommandFailure(EXIT.refused, message, { cause });
  }
  throw new CommandFailure(EXIT.refused, `${parent} has ${A_DAY_MAX} folders of ${day} already`);
}

/** The day as the clock on the wall has it. */
export function localDay(nowMs: number): string {
  const date = new Date(nowMs);
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
