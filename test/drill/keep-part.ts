import { existsSync, readFileSync, writeFileSync } from "node:fs";

/** One part of what `npm run drill` prints and keeps. */
export interface KeptPart {
  readonly report: string;
  readonly result: { readonly isPassed?: boolean };
}

/** Hands a part to `scripts/drill.mjs`, which named a file for it; prints it where nobody did. */
export function keepPart(name: string, result: object, report: string): void {
  const file = process.env["HOLDFAST_DRILL_PARTS"];
  if (file === undefined) {
    process.stdout.write(`${report}\n`);
    return;
  }
  const before = existsSync(file)
    ? (JSON.parse(readFileSync(file, "utf8")) as Readonly<Record<string, KeptPart>>)
    : {};
  writeFileSync(file, JSON.stringify({ ...before, [name]: { report, result } }));
}
