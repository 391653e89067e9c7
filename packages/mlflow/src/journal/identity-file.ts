/** What a journal is of: written once, when its folder is made. */
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createExclusively } from "@holdfast/runtime/host";
import { z } from "zod";
import { syncFolder } from "./segment-files.ts";

const FILE = "journal.json";
const schema = z.object({
  version: z.literal(1),
  /** Part of the tag by which runs are found again. */
  id: z.string().min(1).max(100),
  experiment: z.string().min(1),
});

/** A journal's own facts. */
export type JournalIdentity = z.infer<typeof schema>;

/** Reads it; undefined when there is no journal. Throws where it cannot be read. */
export async function readIdentity(folder: string): Promise<JournalIdentity | undefined> {
  const path = join(folder, FILE);
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const parsed = schema.safeParse(JSON.parse(text));
  if (parsed.success) return parsed.data;
  throw new Error(`${path}: expected the journal of this version of Holdfast`);
}

/** Writes it so that it survives a power cut. */
export async function writeIdentity(folder: string, identity: JournalIdentity): Promise<void> {
  const path = join(folder, FILE);
  await createExclusively(path, `${JSON.stringify(identity)}\n`);
  const handle = await open(path, "r+");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
  await syncFolder(folder);
}
