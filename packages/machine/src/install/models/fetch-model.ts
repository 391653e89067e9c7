/** Brings one model to its place: from what is there, or by a download. */
import { mkdir, stat } from "node:fs/promises";
import { assertNever, type Clock, type Random } from "@holdfast/runtime";
import { withFileLock } from "@holdfast/runtime/host";
import type { ModelEntry } from "../../manifest/model.ts";
import { diskShortage, judgeDisks, type LookAtDisk } from "./disk-space.ts";
import { downloadFile, type DownloadLimits } from "./download.ts";
import { diskFailure, downloadFailure, type DownloadFailure } from "./download-failure.ts";
import type { DownloadSource } from "./download-source.ts";
import { examineModel, otherHash, type ModelFound, type ModelToFetch } from "./examine-model.ts";
import type { HashCache } from "./hash-cache.ts";
import { modelKey, prepareTarget } from "./model-target.ts";
import type { OpenPart } from "./part-writer.ts";

/** What fetching needs of the world. */
export interface FetchPorts {
  readonly source: DownloadSource;
  readonly hashes: HashCache;
  readonly lookAtDisk: LookAtDisk;
  readonly clock: Clock;
  readonly random: Random;
  readonly limits?: Partial<DownloadLimits>;
  readonly openPart?: OpenPart;
}

/** Where to, and how much has to stay free there. */
export interface FetchPlace {
  readonly root: string;
  readonly keepFreeBytes: number;
}

/** Told meanwhile. */
export interface FetchTold {
  readonly onProgress: (doneBytes: number, totalBytes: number | null) => void;
  readonly onNote: (line: string) => void;
}

/** What became of a model. */
export type FetchedModel =
  | {
      readonly kind: "present";
      readonly path: string;
      readonly sizeBytes: number;
      /** 0: it was there. */
      readonly receivedBytes: number;
    }
  | { readonly kind: "failed"; readonly failure: DownloadFailure };

const LOOK_EVERY_MS = 5_000;
const LOCK_TRY_MS = 500;
const LOCK_EVERY_MS = 2_000;

/** The licence of a model in words; null for one without. */
export function licenceText(entry: ModelEntry): string | null {
  if (entry.licence === undefined) return null;
  const { name, url } = entry.licence;
  return url === undefined ? name : `${name} (${url})`;
}

/** Null when the model may be fetched as far as its licence goes. */
export function licenceFailure(entry: ModelEntry): DownloadFailure | null {
  if (entry.licence === undefined || entry.licence.accepted) return null;
  return downloadFailure(
    "licence",
    `${modelKey(entry)} is under the licence ${licenceText(entry) ?? ""}, which nobody accepted`,
    "Read it, and write accepted: true under the model's licence in machine.yaml.",
  );
}

/**
 * Sees to it that a model is there. A file that is there already is read once, and left. Safe to call
 * from several processes: the second waits for the first. Throws the signal's reason when aborted.
 */
export async function bringModel(
  entry: ModelEntry,
  place: FetchPlace,
  ports: FetchPorts,
  told: FetchTold,
  signal: AbortSignal,
): Promise<FetchedModel> {
  const found = await examineModel(entry, place.root, ports.hashes);
  if (!isToFetch(found)) return await takeWhatIsThere(entry, found, ports, told, signal);
  const refused = licenceFailure(entry);
  if (refused !== null) return { kind: "failed", failure: refused };
  try {
    await mkdir(found.part.folder, { recursive: true });
    const fetch = (): Promise<FetchedModel> => fetchUnderLock(entry, place, ports, told, signal);
    return await underPartLock(found, ports.clock, told, signal, fetch);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    return { kind: "failed", failure: diskFailure(error, found.target.path) };
  }
}

function isToFetch(found: ModelFound): found is ModelToFetch {
  return found.kind === "missing" || found.kind === "outdated";
}

async function takeWhatIsThere(
  entry: ModelEntry,
  found: Exclude<ModelFound, ModelToFetch>,
  ports: FetchPorts,
  told: FetchTold,
  signal: AbortSignal,
): Promise<FetchedModel> {
  switch (found.kind) {
    case "present":
      return present(found.target.path, found.sizeBytes, 0);
    case "blocked":
      return { kind: "failed", failure: found.failure };
    case "unread":
      return await readModel(entry, found.target.path, ports, told, signal);
    default:
      return assertNever(found);
  }
}

async function readModel(
  entry: ModelEntry,
  path: string,
  ports: FetchPorts,
  told: FetchTold,
  signal: AbortSignal,
): Promise<FetchedModel> {
  told.onNote(`${path} is there; reading it`);
  const sha256 = await ports.hashes.ensureNow(path, signal, told.onProgress);
  if (sha256 === entry.sha256) return present(path, (await stat(path)).size, 0);
  // Now that it is read, it is told as what it is.
  const failure = downloadFailure(
    "target_taken",
    otherHash(path, entry.sha256, sha256),
    "It is not replaced, because Holdfast did not put it there: move it away, or correct the model in machine.yaml.",
  );
  return { kind: "failed", failure };
}

/** Whoever had the lock may have fetched it: looks again. */
async function fetchUnderLock(
  entry: ModelEntry,
  place: FetchPlace,
  ports: FetchPorts,
  told: FetchTold,
  signal: AbortSignal,
): Promise<FetchedModel> {
  const found = await examineModel(entry, place.root, ports.hashes);
  if (!isToFetch(found)) return await takeWhatIsThere(entry, found, ports, told, signal);
  const refused = await prepareTarget(place.root, found.target);
  if (refused !== null) return { kind: "failed", failure: refused };
  const short = await shortage(found, place, ports, found.sizeBytes ?? 0);
  if (short !== null) return { kind: "failed", failure: short };
  return await download(entry, found, place, ports, told, signal);
}

async function download(
  entry: ModelEntry,
  found: ModelToFetch,
  place: FetchPlace,
  ports: FetchPorts,
  told: FetchTold,
  signal: AbortSignal,
): Promise<FetchedModel> {
  const guard = guardDisk(found, place, ports, signal);
  try {
    const { source, clock, random, limits, openPart } = ports;
    const outcome = await downloadFile(
      {
        url: entry.url,
        sha256: entry.sha256,
        sizeBytes: entry.sizeBytes ?? null,
        licence: licenceText(entry),
        target: found.target.path,
        partialFolder: found.part.folder,
        // Asked once the file is ready, hours later perhaps: by then somebody may have put another there.
        mayReplace: () => ports.hashes.fetchedFor(found.target.path) === modelKey(entry),
      },
      {
        source,
        clock,
        random,
        ...(limits === undefined ? {} : { limits }),
        ...(openPart === undefined ? {} : { openPart }),
        onProgress: told.onProgress,
        onNote: told.onNote,
      },
      guard.signal,
    );
    if (outcome.kind === "failed") return outcome;
    const { path } = found.target;
    await ports.hashes.noteFetched(path, entry.sha256, modelKey(entry));
    return present(path, outcome.sizeBytes, outcome.receivedBytes);
  } catch (error) {
    const short = guard.shortage();
    if (short === null || signal.aborted) throw error;
    return { kind: "failed", failure: short };
  } finally {
    guard.end();
  }
}

/** What is kept counts as used already; a file of unknown size needs at least what has to stay free. */
async function shortage(
  found: ModelToFetch,
  place: FetchPlace,
  ports: FetchPorts,
  sizeBytes: number,
): Promise<DownloadFailure | null> {
  const disk = await ports.lookAtDisk(found.part.folder);
  const bytes = Math.max(1, sizeBytes - found.keptBytes);
  const [verdict] = judgeDisks([{ device: disk.device, bytes }], [disk], place.keepFreeBytes);
  if (verdict === undefined || verdict.fits) return null;
  return diskShortage(verdict, found.target.parent);
}

interface DiskGuard {
  readonly signal: AbortSignal;
  /** Why it ended the download; null when it did not. */
  shortage(): DownloadFailure | null;
  end(): void;
}

/** Ends a download when the disk fills up meanwhile, whoever fills it. */
function guardDisk(
  found: ModelToFetch,
  place: FetchPlace,
  ports: FetchPorts,
  signal: AbortSignal,
): DiskGuard {
  const own = new AbortController();
  const over = new AbortController();
  let short: DownloadFailure | null = null;
  const onAbort = (): void => own.abort(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  const watch = async (): Promise<void> => {
    while (short === null) {
      await ports.clock.sleep(LOOK_EVERY_MS, over.signal);
      // A disk that cannot be looked at now may be looked at the next time.
      short = await shortage(found, place, ports, 0).catch(() => null);
    }
    own.abort(new Error("the disk fills up"));
  };
  // Only the end of the watch rejects.
  watch().catch(() => undefined);
  return {
    signal: own.signal,
    shortage: () => short,
    end: () => {
      over.abort();
      signal.removeEventListener("abort", onAbort);
    },
  };
}

async function underPartLock<T>(
  found: ModelToFetch,
  clock: Clock,
  told: FetchTold,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  for (let hasTold = false; ;) {
    let isOurs = false;
    try {
      const lock = { clock, timeoutMs: LOCK_TRY_MS, signal };
      return await withFileLock(found.part.lock, lock, async () => {
        isOurs = true;
        return await work();
      });
    } catch (error) {
      signal.throwIfAborted();
      const { code, message } = error as NodeJS.ErrnoException;
      // Without a code: somebody holds it.
      if (isOurs || code !== undefined) throw error;
      if (!hasTold) told.onNote(`${message}; waiting for it`);
      hasTold = true;
    }
    await clock.sleep(LOCK_EVERY_MS, signal);
  }
}

function present(path: string, sizeBytes: number, receivedBytes: number): FetchedModel {
  return { kind: "present", path, sizeBytes, receivedBytes };
}
