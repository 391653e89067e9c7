import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder } from "@holdfast/runtime/host";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";

/** Where baselines are below `--root`. */
export const BASELINES = join("observability", "baselines");
/** Baselines of one day. */
const A_DAY_MAX = 1_000;

/** The local date, as a baseline of that day is called. */
export function dayOf(epochMs: number): string {
  const at = new Date(epochMs);
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/**
 * Makes a folder that was not there: `2026-11-28`, and `2026-11-28-2` for the next of a day: what was recorded
 * is never written over.
 */
export async function makeBaselineFolder(
  root: string,
  now: number,
): Promise<{ readonly name: string; readonly path: string }> {
  const all = join(root, BASELINES);
  try {
    await makeFolder(all);
    for (let number = 1; number <= A_DAY_MAX; number += 1) {
      const name = number === 1 ? dayOf(now) : `${dayOf(now)}-${number}`;
      const path = join(all, name);
      try {
        await mkdir(path);
        return { name, path };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
    }
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CommandFailure(
      EXIT.refused,
      `--root: no baseline can be written below ${all}: ${reason}. No load was sent.`,
      { cause },
    );
  }
  throw new CommandFailure(EXIT.refused, `${all} has ${A_DAY_MAX} baselines of today already`);
}
