/**
 * The manifest that a machine goes by. The file itself is taken into force when the agent starts, and
 * by `holdfast machine install` once what it asks for is installed; what is in force is a copy in the
 * machine folder. So a mistake in the file, or one that is half edited, never touches what runs. Nor
 * does a file that is away: where there is a release, or a service runs by the copy, the copy stays in
 * force, and `/health` names the file among the problems; otherwise what runs would be left to nobody.
 * Whoever wants no machine any more takes what it has out of the manifest, or the folder away.
 */
import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { AgentLog } from "@holdfast/agent";
import type { Clock } from "@holdfast/runtime";
import { saveTextAtomically } from "../install/models/atomic-file.ts";
import type { Manifest } from "../manifest/model.ts";
import { readManifestText } from "../manifest/read-manifest-file.ts";
import { readManifest, type ManifestReading } from "../manifest/read-manifest.ts";
import { manifestNotes, type ManifestFileState } from "./manifest-notes.ts";

/** A manifest and its digest. */
export interface ReadManifest {
  readonly manifest: Manifest;
  readonly digest: string;
}

/** What a machine goes by, and how the file differs from it. */
export interface ManifestLook {
  /** Null: the machine is not configured. */
  readonly applied: ReadManifest | null;
  /** What is to be said of the file as it is now, in lines. */
  readonly problems: readonly string[];
}

/** Settings of {@link createManifestWatch}. */
export interface ManifestWatchOptions {
  readonly path: string;
  /** A file that was named has to be there. */
  readonly isNamed: boolean;
  /** Takes what is in force. */
  readonly keptAt: string;
  readonly clock: Pick<Clock, "now">;
  /** There is a release that instances may run from. */
  readonly hasRelease: () => Promise<boolean>;
  readonly log: AgentLog;
}

/** See the head of this file. One call at a time. */
export interface ManifestWatch {
  /** Takes the file into force. One that is refused leaves in force what was good before. */
  load(): Promise<ManifestLook>;
  /** What `load` would take into force; nothing is written. */
  peek(): Promise<ManifestLook>;
  /**
   * Notices that somebody has applied a manifest since, the same one again included, and takes that
   * into force; undefined when nobody has. Cheap while nothing changes.
   */
  loadApplied(): Promise<ManifestLook | undefined>;
  /** Looks at the file, which is not applied by having changed. Cheap while nothing changes. */
  look(): Promise<ManifestLook>;
}

/** Makes it; nothing is read before `load`. */
export function createManifestWatch(options: ManifestWatchOptions): ManifestWatch {
  return new FileWatch(options);
}

/** Puts the text of a manifest into force: a running agent notices, and goes by it. */
export async function applyManifest(text: string, keptAt: string): Promise<void> {
  await mkdir(dirname(keptAt), { recursive: true });
  await saveTextAtomically(keptAt, text, OWNER_ONLY);
}

/** The manifest in force; null when there is none that can be used. */
export async function readApplied(keptAt: string): Promise<ReadManifest | null> {
  const kept = await readState(keptAt);
  return kept.state.kind === "ok" ? toRead(kept.state) : null;
}

/** A manifest may name internal hosts. */
const OWNER_ONLY = 0o600;
const MISSING = "missing";
/** No signature is like it, so what has it is looked at again. */
const UNSETTLED = "unsettled";
/**
 * A file that was written so lately may be written again without any sign of it: file systems tell
 * time by ticks, and an editor may write as many bytes into the same file.
 */
const FRESH_MS = 2_000;

class FileWatch implements ManifestWatch {
  readonly #options: ManifestWatchOptions;
  #applied: ReadManifest | null = null;
  #problems: readonly string[] = [];
  #fileSeen = "";
  #keptSeen = "";

  constructor(options: ManifestWatchOptions) {
    this.#options = options;
  }

  load(): Promise<ManifestLook> {
    return this.#load((file) => this.#keep(file));
  }

  peek(): Promise<ManifestLook> {
    return this.#load(() => Promise.resolve());
  }

  async #load(keep: (file: GoodFile) => Promise<void>): Promise<ManifestLook> {
    const { path, keptAt, isNamed } = this.#options;
    const file = await readState(path);
    if (file.state.kind === "ok") {
      await keep({ text: file.text, warnings: file.state.warnings });
      this.#applied = toRead(file.state);
    } else {
      const kept = await readState(keptAt);
      this.#keptSeen = kept.signature;
      const read = kept.state.kind === "ok" ? toRead(kept.state) : null;
      // Nobody named the file, and nothing can run by its copy: this is no machine any more.
      const isWanted = file.state.kind === "refused" || isNamed || (await this.#mayRun(read));
      this.#applied = isWanted ? read : null;
    }
    this.#note(file);
    return this.#told();
  }

  async loadApplied(): Promise<ManifestLook | undefined> {
    const { keptAt, log } = this.#options;
    if ((await signOf(keptAt)).text === this.#keptSeen) return undefined;
    const { state, signature: seen } = await readState(keptAt);
    this.#keptSeen = seen;
    if (state.kind !== "ok") {
      log.warn({ path: keptAt }, "the applied manifest cannot be read, nothing is changed for it");
      return undefined;
    }
    this.#applied = toRead(state);
    this.#fileSeen = "";
    return await this.look();
  }

  async look(): Promise<ManifestLook> {
    if ((await signOf(this.#options.path)).text === this.#fileSeen) return this.#told();
    const before = this.#problems;
    this.#note(await readState(this.#options.path));
    const { log, path } = this.#options;
    for (const note of this.#problems) {
      if (!before.includes(note)) log.warn({ path, note }, "manifest is not what is in force");
    }
    return this.#told();
  }

  /** Something of the manifest that was in force may run still. */
  async #mayRun(read: ReadManifest | null): Promise<boolean> {
    if (read?.manifest.services.some(({ process }) => process !== undefined) === true) return true;
    return await this.#options.hasRelease();
  }

  #note({ state, signature: seen, writtenAt }: FileRead): void {
    const { path, isNamed, clock } = this.#options;
    const isFresh = writtenAt !== null && Math.abs(clock.now() - writtenAt) < FRESH_MS;
    this.#fileSeen = isFresh ? UNSETTLED : seen;
    const inForce = this.#applied?.manifest ?? null;
    const problems = manifestNotes({ path, isNamed, file: state, inForce });
    if (problems.join("\n") !== this.#problems.join("\n")) this.#problems = problems;
  }

  #told(): ManifestLook {
    return { applied: this.#applied, problems: this.#problems };
  }

  async #keep({ text, warnings }: GoodFile): Promise<void> {
    const { path, keptAt, log } = this.#options;
    for (const { line, message } of warnings) {
      log.warn({ path, line, warning: message }, "manifest warning");
    }
    try {
      const kept = await readState(keptAt);
      if (kept.text !== text) await applyManifest(text, keptAt);
      const after = await readState(keptAt);
      // Somebody else has applied another one between: that is noticed, and taken next.
      this.#keptSeen = after.text === text ? after.signature : UNSETTLED;
    } catch (err) {
      log.warn({ err }, "manifest could not be kept for a time when the file is wrong");
      this.#keptSeen = (await signOf(keptAt)).text;
    }
  }
}

interface GoodFile {
  readonly text: string;
  readonly warnings: Extract<ManifestReading, { kind: "ok" }>["warnings"];
}

interface FileRead {
  readonly state: ManifestFileState;
  readonly text: string;
  /** Taken before the text was read: what is written meanwhile is noticed later. */
  readonly signature: string;
  /** Epoch ms; null when there is no file. */
  readonly writtenAt: number | null;
}

async function readState(path: string): Promise<FileRead> {
  const sign = await signOf(path);
  if (sign.text === MISSING) {
    return { state: { kind: "missing" }, text: "", signature: MISSING, writtenAt: null };
  }
  const read = await readManifestText(path);
  const { text: signature, writtenAt } = sign;
  if (read.kind === "refused") return { state: read, text: "", signature, writtenAt };
  return { state: readManifest(read.text), text: read.text, signature, writtenAt };
}

function toRead({ manifest, digest }: Extract<ManifestReading, { kind: "ok" }>): ReadManifest {
  return { manifest, digest };
}

interface Sign {
  /** Changes with every write to the file, ticks of the file system apart. */
  readonly text: string;
  readonly writtenAt: number | null;
}

async function signOf(path: string): Promise<Sign> {
  const facts = await stat(path, { bigint: true }).catch(() => undefined);
  if (facts === undefined) return { text: MISSING, writtenAt: null };
  const { ino, size, mtimeNs, mtimeMs } = facts;
  return { text: `${ino}:${size}:${mtimeNs}`, writtenAt: Number(mtimeMs) };
}
