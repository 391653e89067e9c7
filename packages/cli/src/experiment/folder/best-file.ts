import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeWhole } from "./about-file.ts";

/** Name of the file of runs that are marked as best. */
export const BEST_FILE = "best.json";

const bestSchema = z.object({
  version: z.literal(1),
  /** One for each reason, and as many as somebody marked by hand. */
  marks: z.array(
    z.object({
      index: z.int().min(0),
      name: z.string(),
      /** `lowest loss`, `by hand` */
      why: z.string(),
      /** What it was measured by; null by hand. */
      value: z.number().nullable(),
    }),
  ),
  /** What the last `--command` said of each run, by its name. */
  scores: z.record(z.string(), z.number()),
});

/** What is best, and by what. */
export type BestOfExperiment = z.infer<typeof bestSchema>;
/** One run that is marked. */
export type MarkedRun = BestOfExperiment["marks"][number];

/** Nothing is marked where there is no such file, or one that is none. */
export async function readBest(folder: string): Promise<BestOfExperiment> {
  try {
    const parsed = bestSchema.safeParse(
      JSON.parse(await readFile(join(folder, BEST_FILE), "utf8")),
    );
    if (parsed.success) return parsed.data;
  } catch {
    // There is none yet.
  }
  return { version: 1, marks: [], scores: {} };
}

/** Writes it whole or not at all. */
export async function writeBest(folder: string, best: BestOfExperiment): Promise<void> {
  await writeWhole(join(folder, BEST_FILE), `${JSON.stringify(best, null, 2)}\n`);
}

/** With one more mark: by hand beside those that are there, by a measure in place of its last one. */
export function withMark(best: BestOfExperiment, mark: MarkedRun): BestOfExperiment {
  const others = best.marks.filter(({ why, index }) =>
    mark.value === null ? why !== mark.why || index !== mark.index : why !== mark.why,
  );
  return { ...best, marks: [...others, mark] };
}
