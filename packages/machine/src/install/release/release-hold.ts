/**
 * A manifest that is held back. Whoever goes back to an older release acts against the manifest, which
 * asks for the newer one still: without a word on the disk the next installation, and with it the next
 * start of an agent, would undo that unseen. The word is for this wish alone: a manifest that asks for
 * another release ends it, and so do `holdfast machine install --end-hold` and `machine update`; the
 * latter not when it only comes to the release again that the machine itself has left.
 */
import { rm } from "node:fs/promises";
import { z } from "zod";
import { readIfThere, writeWhole } from "../install-files.ts";

const holdSchema = z.object({
  version: z.literal(1),
  /** `releaseDigest` of each manifest that is held back: the file's, and that of the one in force. */
  manifests: z.array(z.string()),
  /** Release that was left. */
  from: z.string().nullable(),
  /** Release that serves instead. Another one that serves was linked later: then this is over. */
  to: z.string(),
  at: z.int(),
  /** `machine`: the release that was left did not work. */
  by: z.enum(["operator", "machine"]),
  /** Why it was left; null when nobody said. */
  reason: z.string().nullable(),
});
/** See the head of this file. */
export type ReleaseHold = z.infer<typeof holdSchema>;

/** The hold on the disk; undefined when there is none, or none that can be read. */
export async function readHold(path: string): Promise<ReleaseHold | undefined> {
  const text = await readIfThere(path);
  if (text === undefined) return undefined;
  try {
    return holdSchema.parse(JSON.parse(text));
  } catch {
    return undefined; // Of another version: the manifest counts then, as it did before there were holds.
  }
}

/** Writes a hold down. */
export async function writeHold(path: string, hold: ReleaseHold): Promise<void> {
  await writeWhole(path, `${JSON.stringify(hold, null, 2)}\n`);
}

/** Ends whatever is held. */
export async function removeHold(path: string): Promise<void> {
  await rm(path, { force: true });
}

/** The hold as far as it counts for this manifest and the release that serves; else null. */
export function holdInForce(
  hold: ReleaseHold | undefined,
  { manifest, serving }: { readonly manifest: string; readonly serving: string | undefined },
): ReleaseHold | null {
  if (hold === undefined || hold.to !== serving) return null;
  return hold.manifests.includes(manifest) ? hold : null;
}

/** For people: what serves, why, and how to end it. */
export function holdWords({ from, to, at, by, reason }: ReleaseHold): string {
  const left = from === null ? "" : ` instead of ${from}`;
  const why =
    by === "operator" ? "somebody rolled back" : `${from ?? "it"} did not work: ${reason ?? "?"}`;
  const until =
    by === "operator"
      ? "until it asks for another release, `holdfast machine update`, or `holdfast machine install --end-hold`"
      : "until it asks for another release, `holdfast machine update` comes to another one, or `holdfast machine install --end-hold`";
  return `machine.yaml is held back since ${new Date(at).toISOString()}: release ${to} serves${left} (${why}), ${until}`;
}
