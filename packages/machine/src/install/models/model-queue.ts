/** All models of one run of the installer: sizes asked for, the disk judged, then fetched side by side. */
import { setMaxListeners } from "node:events";
import type { Manifest, ModelEntry } from "../../manifest/model.ts";
import {
  diskShortage,
  judgeDisks,
  sizeText,
  type DiskSpace,
  type DiskVerdict,
} from "./disk-space.ts";
import type { DownloadFailure } from "./download-failure.ts";
import type { Probed } from "./download-source.ts";
import { DownloadPool } from "./download-pool.ts";
import { examineModel, type ModelFound } from "./examine-model.ts";
import {
  bringModel,
  licenceFailure,
  licenceText,
  type FetchedModel,
  type FetchPlace,
  type FetchPorts,
  type FetchTold,
} from "./fetch-model.ts";
import { modelKey } from "./model-target.ts";

/** Servers that are asked for a size at a time, and how long each is waited for. */
const PROBES_AT_ONCE = 8;
const PROBE_MS = 20_000;

/** A model as it was found, with what its server says. */
export interface Surveyed {
  readonly entry: ModelEntry;
  readonly found: ModelFound;
  /** Null for one that was not asked: nothing is to be fetched, or its size is known. */
  readonly probed: Probed | null;
  /** Still to be fetched; null while nobody knows, 0 when nothing is. */
  readonly fetchBytes: number | null;
  /** Where it would go; null when nothing is to be fetched. */
  readonly disk: DiskSpace | null;
}

/**
 * Looks at every model and asks for sizes that are not known; with `askAll`, of every one that is to be
 * fetched, to see whether it may be had. Changes nothing.
 */
export async function surveyModels(
  entries: readonly ModelEntry[],
  place: FetchPlace,
  ports: FetchPorts,
  askAll: boolean,
  signal: AbortSignal,
): Promise<readonly Surveyed[]> {
  const surveyed: Surveyed[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let at = next++; at < entries.length; at = next++) {
      const entry = entries[at];
      signal.throwIfAborted();
      if (entry !== undefined) surveyed[at] = await survey(entry, place, ports, askAll, signal);
    }
  };
  await Promise.all(Array.from({ length: PROBES_AT_ONCE }, work));
  return surveyed;
}

async function survey(
  entry: ModelEntry,
  place: FetchPlace,
  ports: FetchPorts,
  askAll: boolean,
  signal: AbortSignal,
): Promise<Surveyed> {
  const found = await examineModel(entry, place.root, ports.hashes);
  if (found.kind !== "missing" && found.kind !== "outdated") {
    return { entry, found, probed: null, fetchBytes: 0, disk: null };
  }
  if (licenceFailure(entry) !== null) {
    return { entry, found, probed: null, fetchBytes: 0, disk: null };
  }
  const mustAsk = askAll || found.sizeBytes === null;
  const probed = mustAsk ? await probeInTime(entry, ports, signal) : null;
  const sizeBytes = found.sizeBytes ?? probed?.sizeBytes ?? null;
  const fetchBytes = sizeBytes === null ? null : Math.max(0, sizeBytes - found.keptBytes);
  const disk = await ports.lookAtDisk(found.target.existing).catch(() => null);
  return { entry, found, probed, fetchBytes, disk };
}

/** A server that does not answer is no reason to wait: the download will tell. */
async function probeInTime(
  entry: ModelEntry,
  ports: FetchPorts,
  signal: AbortSignal,
): Promise<Probed | null> {
  const own = new AbortController();
  const onAbort = (): void => own.abort(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  const over = new AbortController();
  ports.clock.sleep(PROBE_MS, over.signal).then(
    () => own.abort(new Error("the server did not answer in time")),
    () => undefined,
  );
  try {
    return await ports.source.probe(entry.url, licenceText(entry), own.signal);
  } catch (error) {
    if (signal.aborted || !own.signal.aborted) throw error;
    return null;
  } finally {
    over.abort();
    signal.removeEventListener("abort", onAbort);
  }
}

/** Judges the disks for models that are to be fetched; one of unknown size counts as nothing. */
export function judgeSurvey(
  surveyed: readonly Surveyed[],
  keepFreeBytes: number,
): readonly DiskVerdict[] {
  const disks = surveyed.flatMap(({ disk }) => disk ?? []);
  const needs = surveyed.flatMap(({ disk, fetchBytes }) =>
    disk === null ? [] : [{ device: disk.device, bytes: fetchBytes ?? 0 }],
  );
  return judgeDisks(needs, disks, keepFreeBytes);
}

/**
 * Which models do not fit, and why, by their key. When all do not fit but those that must be there do,
 * the optional ones stay out.
 */
export function findMisfits(
  surveyed: readonly Surveyed[],
  place: FetchPlace,
): ReadonlyMap<string, DownloadFailure> {
  const misfits = new Map<string, DownloadFailure>();
  for (const verdict of judgeSurvey(surveyed, place.keepFreeBytes)) {
    if (verdict.fits) continue;
    const here = surveyed.filter(({ disk }) => disk?.device === verdict.device);
    const required = here.filter(({ entry }) => !entry.optional);
    const [without] = judgeSurvey(required, place.keepFreeBytes);
    const areRequiredWell = without === undefined || without.fits;
    const failure = diskShortage(verdict, place.root);
    for (const { entry } of here) {
      if (!areRequiredWell || entry.optional) misfits.set(modelKey(entry), failure);
    }
  }
  return misfits;
}

/** The models of one run. Begins with the first that is waited for. */
export class ModelQueue {
  readonly #entries: readonly ModelEntry[];
  readonly #place: FetchPlace;
  readonly #ports: FetchPorts;
  readonly #pool: DownloadPool<FetchedModel>;
  readonly #told = new Map<string, FetchTold>();
  readonly #end = new AbortController();
  #begun: Promise<void> | undefined;

  constructor(
    entries: readonly ModelEntry[],
    downloads: Manifest["downloads"],
    place: FetchPlace,
    ports: FetchPorts,
  ) {
    this.#entries = entries;
    this.#place = place;
    this.#ports = ports;
    this.#pool = new DownloadPool(downloads.parallel);
    // One listener a download: many are no leak.
    setMaxListeners(0, this.#end.signal);
  }

  /** Brings a model; the others are fetched beside it. Aborting ends all of them. */
  async bring(entry: ModelEntry, told: FetchTold, signal: AbortSignal): Promise<FetchedModel> {
    const key = modelKey(entry);
    const onAbort = (): void => void this.close(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    this.#told.set(key, told);
    try {
      this.#begun ??= this.#begin();
      await this.#begun;
      const fetched = await this.#pool.result(key);
      // One that was there when the others were looked at, and is not any more.
      return fetched ?? (await bringModel(entry, this.#place, this.#ports, told, this.#end.signal));
    } finally {
      this.#told.delete(key);
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** All downloads together, in words. */
  totalText(): string {
    const { jobs, endedJobs, doneBytes, totalBytes } = this.#pool.total();
    const total = totalBytes === null ? "" : ` of ${sizeText(totalBytes)}`;
    return `${endedJobs} of ${jobs} models, ${sizeText(doneBytes)}${total}`;
  }

  /** Ends what runs; what was fetched is kept. */
  async close(reason: unknown = new Error("the run of the installer is over")): Promise<void> {
    this.#end.abort(reason);
    await this.#pool.close(reason);
  }

  async #begin(): Promise<void> {
    const { signal } = this.#end;
    const surveyed = await surveyModels(this.#entries, this.#place, this.#ports, false, signal);
    signal.throwIfAborted();
    const misfits = findMisfits(surveyed, this.#place);
    for (const one of surveyed) if (one.found.kind !== "present") this.#add(one, misfits);
  }

  #add({ entry, fetchBytes }: Surveyed, misfits: ReadonlyMap<string, DownloadFailure>): void {
    const key = modelKey(entry);
    const failure = misfits.get(key);
    this.#pool.add({
      key,
      sizeBytes: fetchBytes,
      run: async (signal, onProgress) => {
        if (failure !== undefined) return { kind: "failed", failure };
        const told: FetchTold = {
          onProgress: (done, total) => {
            onProgress(done, total);
            this.#told.get(key)?.onProgress(done, total);
          },
          onNote: (line) => this.#told.get(key)?.onNote(line),
        };
        return await bringModel(entry, this.#place, this.#ports, told, signal);
      },
    });
  }
}
