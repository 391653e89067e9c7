/** The manifest that a machine goes by, and what is wrong with the file as it is now. */
import { mkdir, readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { AgentLog } from "@holdfast/agent";
import { saveTextAtomically } from "../install/models/atomic-file.ts";
import type { Manifest } from "../manifest/model.ts";
import { readManifestFile } from "../manifest/read-manifest-file.ts";
import { readManifest } from "../manifest/read-manifest.ts";

/** A manifest and its digest. */
export interface ReadManifest {
  readonly manifest: Manifest;
  readonly digest: string;
}

/** What a look at the file came to. */
export interface ManifestLook {
  /** What the machine goes by; null: it is not configured. */
  readonly applied: ReadManifest | null;
  /** The file as it is now is not what is applied: why, in lines. */
  readonly problems: readonly string[];
}

/** Settings of {@link createManifestWatch}. */
export interface ManifestWatchOptions {
  readonly path: string;
  /** A file that was named has to be there. */
  readonly isNamed: boolean;
  /** Takes the last manifest that was good: a mistake in the file must not stop what ran before. */
  readonly keptAt: string;
  readonly log: AgentLog;
}

/** Reads the manifest, and notices that the file has changed. */
export interface ManifestWatch {
  /** Reads the file. What is refused leaves the manifest in force that was good before. */
  load(): Promise<ManifestLook>;
  /** The file has changed since it was read last; cheap. */
  isChanged(): Promise<boolean>;
}

/** Makes it; nothing is read before `load`. */
export function createManifestWatch(options: ManifestWatchOptions): ManifestWatch {
  const { path, isNamed, keptAt, log } = options;
  let seen = "";
  return {
    async load() {
      seen = await signature(path);
      if (seen === MISSING) {
        if (!isNamed) return { applied: null, problems: [] };
        const kept = await readKept(keptAt);
        return { applied: kept, problems: [`${path} is not there${goesOn(kept)}`] };
      }
      const reading = await readManifestFile(path);
      if (reading.kind === "refused") {
        const kept = await readKept(keptAt);
        const lines = reading.problems.map(
          ({ line, column, message }) => `${path}:${line}:${column}: ${message}`,
        );
        return { applied: kept, problems: [...lines, ...(kept === null ? [] : [STILL])] };
      }
      for (const { line, message } of reading.warnings) {
        log.warn({ path, line, warning: message }, "manifest warning");
      }
      await keep(path, keptAt).catch((err: unknown) => {
        log.warn({ err }, "manifest could not be kept for a time when the file is wrong");
      });
      return { applied: { manifest: reading.manifest, digest: reading.digest }, problems: [] };
    },
    isChanged: async () => (await signature(path)) !== seen,
  };
}

const MISSING = "missing";
const STILL = "the manifest before this one stays in force";

function goesOn(kept: ReadManifest | null): string {
  return kept === null ? "" : `; ${STILL}`;
}

/** Changes with every write to the file. */
async function signature(path: string): Promise<string> {
  const facts = await stat(path, { bigint: true }).catch(() => undefined);
  return facts === undefined ? MISSING : `${facts.ino}:${facts.size}:${facts.mtimeNs}`;
}

async function keep(path: string, keptAt: string): Promise<void> {
  const text = await readFile(path, "utf8");
  if ((await readFile(keptAt, "utf8").catch(() => undefined)) === text) return;
  await applyManifest(path, keptAt);
}

/** Puts a manifest into force: a running agent notices the new file and goes by it. */
export async function applyManifest(path: string, keptAt: string): Promise<void> {
  const text = await readFile(path, "utf8");
  await mkdir(dirname(keptAt), { recursive: true });
  await saveTextAtomically(keptAt, text, 0o600);
}

async function readKept(keptAt: string): Promise<ReadManifest | null> {
  const text = await readFile(keptAt, "utf8").catch(() => undefined);
  const reading = text === undefined ? undefined : readManifest(text);
  if (reading?.kind !== "ok") return null;
  return { manifest: reading.manifest, digest: reading.digest };
}
