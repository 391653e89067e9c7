/** The runbook on disk: sections of other targets stay. */
import { readFile, stat } from "node:fs/promises";
import { RUNBOOK_BYTES_MAX, sectionCount, slaRunbook, type RunbookFacts } from "@holdfast/load";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";
import { writeWhole } from "../experiment/folder/about-file.ts";

/** What is in it; empty where there is none. Throws {@link CommandFailure} where it is too large to be one. */
export async function readRunbook(file: string): Promise<string> {
  const found = await stat(file).catch(() => undefined);
  if (found === undefined) return "";
  if (found.size > RUNBOOK_BYTES_MAX) {
    throw new CommandFailure(
      EXIT.refused,
      `${file}: expected a runbook of at most ${RUNBOOK_BYTES_MAX} bytes, found ${found.size}: move it away. No load was sent.`,
    );
  }
  return await readFile(file, "utf8");
}

/** Writes the target's section, and says where, and what was left as it is. */
export async function writeRunbook(file: string, facts: RunbookFacts): Promise<string> {
  const text = slaRunbook(await readRunbook(file), facts);
  await writeWhole(file, text);
  const others = sectionCount(text) - 1;
  const left = others === 0 ? "" : `; ${others} of other targets as before`;
  return `written: ${file} (section of ${facts.target.url}${left})`;
}
