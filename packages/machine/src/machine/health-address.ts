/** Where the health server of the agent on a machine folder listens, for whoever asks at the command line. */
import { mkdir, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { saveTextAtomically } from "../install/models/atomic-file.ts";

const addressSchema = z.object({ url: z.url(), pid: z.int().positive() });
/** What is written down. */
export type HealthAddress = z.infer<typeof addressSchema>;

/** The address, and the process that wrote it, which may be gone; undefined when there is none. */
export async function readHealthAddress(file: string): Promise<HealthAddress | undefined> {
  try {
    return addressSchema.parse(JSON.parse(await readFile(file, "utf8")));
  } catch {
    return undefined;
  }
}

/** Writes it down. */
export async function leaveHealthAddress(file: string, address: HealthAddress): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await saveTextAtomically(file, JSON.stringify(address));
}

/** Takes it away, unless another agent has written its own there. */
export async function removeHealthAddress(file: string, pid: number): Promise<void> {
  if ((await readHealthAddress(file))?.pid === pid) await rm(file, { force: true });
}
