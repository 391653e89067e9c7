/**
 * What is remembered of a machine that is a process of this host: one file in the machine's folder.
 *
 * I1: the file is there before the process is, so that a crash in between leaves something to look for.
 * I2: it is seen whole or not at all. I3: a machine that has ended stays ended.
 */
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { createExclusively } from "@holdfast/runtime/host";
import { z } from "zod";
import { isName } from "../label.ts";

/** Name of the file. The folder is the agent's home too: no file of its has this name. */
const RECORD_FILE = "provided-machine.json";

/** Machines that are looked at in one folder; more than any pool has. */
const MACHINES_MAX = 10_000;

const recordSchema = z.object({
  version: z.literal(1),
  name: z.string().refine(isName),
  fleet: z.string(),
  pool: z.string(),
  /** In the environment of the process and of all that it started. */
  mark: z.string().min(1),
  createdAt: z.number(),
  /** Null until the process was started and seen. */
  main: z.object({ pid: z.int().positive(), startTime: z.string().nullable() }).nullable(),
  /** When it was asked to be ended; null when nobody has. */
  endingSince: z.number().nullable(),
  /** Whether it was told so by SIGTERM: once, for a second one means "at once" to an agent. */
  wasTold: z.boolean(),
  ended: z.object({ at: z.number(), reason: z.string().nullable() }).nullable(),
});

/** See the head of this file. */
export type MachineRecord = Readonly<z.output<typeof recordSchema>>;

/** The folder of a machine. Throws for a name that is none: it would lead out of the root. */
export function machineFolder(root: string, name: string): string {
  if (!isName(name)) throw new Error(`${JSON.stringify(name)} is no name of a machine`);
  return join(root, name);
}

/** All machines below a root, of every label; empty when there is no such folder. */
export async function readRecords(root: string): Promise<readonly MachineRecord[]> {
  const names = await readdir(root).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  const records: MachineRecord[] = [];
  for (const name of names.filter(isName).sort().slice(0, MACHINES_MAX)) {
    const record = await readRecord(root, name);
    if (record !== undefined) records.push(record);
  }
  return records;
}

/** Undefined when there is none that can be read: a folder of somebody else's is none of ours. */
export async function readRecord(root: string, name: string): Promise<MachineRecord | undefined> {
  const path = join(machineFolder(root, name), RECORD_FILE);
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const record = recordSchema.safeParse(parseJson(text)).data;
  return record?.name === name ? record : undefined;
}

/** Makes the folder and the record of a new machine. False when the name was used already. */
export async function claimRecord(root: string, record: MachineRecord): Promise<boolean> {
  const folder = machineFolder(root, record.name);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return await createExclusively(join(folder, RECORD_FILE), textOf(record));
}

/** I2: writes a changed record beside the old one, flushed, then renamed over it. */
export async function saveRecord(root: string, record: MachineRecord): Promise<void> {
  const path = join(machineFolder(root, record.name), RECORD_FILE);
  const own = `${path}.${process.pid}.new`;
  try {
    const handle = await open(own, "w", 0o600);
    try {
      await handle.writeFile(textOf(record));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(own, path);
  } catch (error) {
    // What stands there does not matter beside why it could not be written.
    await rm(own, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** I3: a change of the record as it is by now; the one that has ended is left as it is. */
export async function changeRecord(
  root: string,
  name: string,
  change: (record: MachineRecord) => MachineRecord,
): Promise<MachineRecord | undefined> {
  const record = await readRecord(root, name);
  if (record === undefined || record.ended !== null) return record;
  const changed = change(record);
  if (changed !== record) await saveRecord(root, changed);
  return changed;
}

function textOf(record: MachineRecord): string {
  return `${JSON.stringify(record, null, 2)}\n`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
