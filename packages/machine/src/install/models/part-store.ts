/** Kept parts of files by their SHA-256, and beside each a record of where its bytes came from. */
import { mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { saveTextAtomically } from "./atomic-file.ts";
import type { PartRecord } from "./resume-plan.ts";

/** Folder of kept parts, below the model root, on the disk of the files. */
export const PARTIAL_FOLDER = ".holdfast-partial";
const RECORD_MAX = 16 * 1024;
const TEXT_MAX = 4_096;

const recordSchema = z.object({
  url: z.string().max(TEXT_MAX),
  etag: z.string().max(TEXT_MAX).nullable(),
  lastModified: z.string().max(TEXT_MAX).nullable(),
  totalBytes: z.int().min(0).nullable(),
});

/** Where the part of a file is. */
export interface PartPlace {
  readonly folder: string;
  readonly part: string;
  readonly record: string;
  /** Held by whoever fetches it. */
  readonly lock: string;
}

/** The place of the part of a file with this SHA-256. */
export function partPlace(folder: string, sha256: string): PartPlace {
  return {
    folder,
    part: join(folder, `${sha256}.part`),
    record: join(folder, `${sha256}.json`),
    lock: join(folder, `${sha256}.lock`),
  };
}

/** Makes the folder. */
export async function preparePartFolder(place: PartPlace): Promise<void> {
  await mkdir(place.folder, { recursive: true });
}

/** Bytes that are kept; 0 when nothing is. */
export async function keptBytes(place: PartPlace): Promise<number> {
  return await sizeOf(place.part);
}

/** The record of a part; null for none, or one that cannot be read: then only the hash can tell. */
export async function readRecord(place: PartPlace): Promise<PartRecord | null> {
  try {
    const text = await readFile(place.record, "utf8");
    if (text.length > RECORD_MAX) return null;
    return recordSchema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** Writes the record. To be done before the first byte of another version, and after the last of the old. */
export async function saveRecord(place: PartPlace, record: PartRecord): Promise<void> {
  const isSound = recordSchema.safeParse(record).success;
  // Absurd headers would make a record that cannot be read again: better none of them.
  const fit = isSound ? record : { ...record, etag: null, lastModified: null };
  await saveTextAtomically(place.record, JSON.stringify(fit), 0o600);
}

/** Removes the part and its record, and what a process left that was killed while it wrote one. */
export async function removePart(place: PartPlace): Promise<void> {
  await rm(place.part, { force: true });
  await rm(place.record, { force: true });
  const own = `${basename(place.record)}.`;
  const names = await readdir(place.folder).catch(() => []);
  for (const name of names.filter((one) => one.startsWith(own) && one.endsWith(".new"))) {
    await rm(join(place.folder, name), { force: true });
  }
}

/** A kept part that no model of the manifest wants any more. */
export interface StalePart {
  readonly sha256: string;
  /** Epoch ms of the last change of the part; of its record where there is no part. */
  readonly changedAt: number;
}

/** Parts and records below a folder of kept parts whose SHA-256 is not wanted. Somebody may be at them. */
export async function findStaleParts(
  folder: string,
  wanted: ReadonlySet<string>,
): Promise<readonly StalePart[]> {
  const names = await readdir(folder).catch(() => []);
  const hashes = new Set(
    names.filter((name) => /^[0-9a-f]{64}\.(?:part|json)$/.test(name)).map(hashOfName),
  );
  const stale: StalePart[] = [];
  for (const sha256 of [...hashes].toSorted()) {
    if (wanted.has(sha256)) continue;
    const { part, record } = partPlace(folder, sha256);
    const age = await stat(part).catch(() => stat(record).catch(() => undefined));
    // Else gone meanwhile.
    if (age === undefined) continue;
    stale.push({ sha256, changedAt: Math.round(age.mtimeMs) });
  }
  return stale;
}

function hashOfName(name: string): string {
  return name.slice(0, name.indexOf("."));
}

async function sizeOf(path: string): Promise<number> {
  return await stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}
