/** What `npm run chaos` and a person at a terminal set for the matrix and its twin. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** See {@link chaosSettings}. */
export interface ChaosSettings {
  /** All cells, and not only those of the suite. */
  readonly isWhole: boolean;
  readonly seed: number;
  /** Run this cell alone, by its name. */
  readonly only: string | undefined;
}

/** Reads them from the environment. */
export function chaosSettings(): ChaosSettings {
  return {
    isWhole: process.env["HOLDFAST_CHAOS"] === "all",
    seed: Number(process.env["HOLDFAST_CHAOS_SEED"] ?? 20_261_122),
    only: process.env["HOLDFAST_CHAOS_CELL"],
  };
}

/** Puts a part of the result under its name into the file that `npm run chaos` named, if it did. */
export function keepResult(name: string, part: object): void {
  const file = process.env["HOLDFAST_CHAOS_RESULT"];
  if (file === undefined) return;
  mkdirSync(dirname(file), { recursive: true });
  const before = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as object) : {};
  const all = { ...before, [name]: { at: new Date().toISOString(), ...part } };
  writeFileSync(file, `${JSON.stringify(all, null, 2)}\n`);
}
