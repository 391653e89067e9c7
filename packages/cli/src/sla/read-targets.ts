import { readFile } from "node:fs/promises";
import { DEFAULT_SLA, readSla, type Sla } from "@holdfast/load";
import { problemLines } from "@holdfast/yaml-file";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";

/** The targets of a file; the defaults without one. Throws with everything that is wrong. */
export async function readTargets(file: string | undefined): Promise<Sla> {
  if (file === undefined) return DEFAULT_SLA;
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CommandFailure(EXIT.refused, `--targets: ${file} cannot be read: ${reason}`);
  }
  const reading = readSla(text);
  if (reading.kind === "ok") return reading.sla;
  throw new CommandFailure(EXIT.refused, problemLines(reading.problems, file).join("\n"));
}
