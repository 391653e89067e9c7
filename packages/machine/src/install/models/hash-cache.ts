/**
 * SHA-256 of model files, so that a file of many gigabytes is read once in its life. A file counts as
 * the same while its path, size, time of change and inode are.
 */
import { mkdir, readFile, stat } from "node:fs/promises";
import { statSync } from "node:fs";
import { dirname } from "node:path";
import type { Clock } from "@holdfast/runtime";
import { withFileLock } from "@holdfast/runtime/host";
import { saveTextAtomically } from "./atomic-file.ts";
import { hashFile, isSameFile, toIdentity, type FileIdentity } from "./hash-file.ts";
import {
  hashRecordsText,
  parseHashRecords,
  putRecord,
  useRecord,
  type HashRecord,
  type HashRecords,
} from "./hash-records.ts";

/** See {@link openHashCache}. */
export interface HashCache {
  /** The hash of a file as it is now, if it was read before. Looks at the file, does not read it. */
  known(path: string): string | undefined;
  /** The model that this very file was fetched as by us; null for one that was not, or was changed since. */
  fetchedFor(path: string): string | null;
  /** The hash, found out in the background: few files at a time, and slowly. */
  ensure(path: string, signal: AbortSignal): Promise<string>;
  /** The hash at full speed, for whoever waits for it. */
  ensureNow(
    path: string,
    signal: AbortSignal,
    onRead?: (doneBytes: number, totalBytes: number) => void,
  ): Promise<string>;
  /** Writes down a file that we fetched as this model. */
  noteFetched(path: string, sha256: string, model: string): Promise<void>;
  /** Ends what goes on in the background, and writes down what is known. */
  close(): Promise<void>;
}

/** Settings of {@link openHashCache}. */
export interface HashCacheOptions {
  readonly file: string;
  readonly clock: Clock;
  /** Files at a time in the background. */
  readonly atOnce?: number;
  /** Told of trouble with the file of the cache, which never stops anything. */
  readonly onTrouble?: (error: unknown) => void;
}

/** In the background, after so many bytes, as long a rest as they took: half of a core at most. */
const BREATH_BYTES = 8 * 1024 * 1024;
/** A file that is changed each time while it is read. */
const READS_MAX = 3;
const LOCK_MS = 10_000;

/** Opens the cache; a file that is missing or corrupted is an empty one. */
export async function openHashCache(options: HashCacheOptions): Promise<HashCache> {
  const text = await readFile(options.file, "utf8").catch(() => "");
  return new FileHashCache(options, parseHashRecords(text));
}

interface Running {
  readonly promise: Promise<string>;
  readonly abort: AbortController;
  waiters: number;
}

class FileHashCache implements HashCache {
  readonly #options: HashCacheOptions;
  readonly #records: HashRecords;
  /** Paths whose record is not written yet. */
  readonly #unsaved = new Set<string>();
  readonly #running = new Map<string, Running>();
  readonly #waiting: (() => void)[] = [];
  readonly #end = new AbortController();
  #free: number;
  /** The file as it was when it was last read or written. */
  #loaded: FileIdentity | null = null;
  #saving: Promise<void> = Promise.resolve();

  constructor(options: HashCacheOptions, records: HashRecords) {
    this.#options = options;
    this.#records = records;
    this.#free = options.atOnce ?? 1;
  }

  known(path: string): string | undefined {
    return this.#recordOf(path)?.sha256;
  }

  fetchedFor(path: string): string | null {
    return this.#recordOf(path)?.fetchedFor ?? null;
  }

  async ensure(path: string, signal: AbortSignal): Promise<string> {
    signal.throwIfAborted();
    const known = await this.#knownToAnyone(path);
    if (known !== undefined) return known;
    const running = this.#running.get(path) ?? this.#start(path);
    running.waiters += 1;
    try {
      return await unlessAborted(running.promise, signal);
    } finally {
      running.waiters -= 1;
      if (running.waiters === 0) {
        // Whoever comes now begins anew: this one ends.
        if (this.#running.get(path) === running) this.#running.delete(path);
        running.abort.abort(new Error("nobody waits for the hash"));
      }
    }
  }

  async ensureNow(
    path: string,
    signal: AbortSignal,
    onRead?: (doneBytes: number, totalBytes: number) => void,
  ): Promise<string> {
    const known = await this.#knownToAnyone(path);
    if (known !== undefined) return known;
    return await this.#read(path, signal, (done, total) => {
      onRead?.(done, total);
      return undefined;
    });
  }

  async noteFetched(path: string, sha256: string, model: string): Promise<void> {
    const identity = toIdentity(await stat(path, { bigint: true }));
    if (identity === null) return;
    this.#put(path, { ...identity, sha256, fetchedFor: model });
    await this.#save();
  }

  async close(): Promise<void> {
    this.#end.abort(new Error("the hash cache is closed"));
    await Promise.allSettled([...this.#running.values()].map(({ promise }) => promise));
    await this.#save();
  }

  #recordOf(path: string): HashRecord | undefined {
    const identity = identityNow(path);
    return identity === null ? undefined : useRecord(this.#records, path, identity);
  }

  /** Another process of ours may have read the file, or fetched it, since the cache was opened. */
  async #knownToAnyone(path: string): Promise<string | undefined> {
    const known = this.known(path);
    if (known !== undefined) return known;
    await this.#refresh();
    return this.known(path);
  }

  async #refresh(): Promise<void> {
    const { file } = this.#options;
    const identity = identityNow(file);
    const isOld = this.#loaded !== null && identity !== null && isSameFile(this.#loaded, identity);
    if (identity === null || isOld) return;
    this.#take(parseHashRecords(await readFile(file, "utf8").catch(() => "")));
    this.#loaded = identity;
  }

  /** What the file says counts, except for what is not written there yet. */
  #take(records: HashRecords): void {
    for (const [path, record] of records) {
      if (!this.#unsaved.has(path)) putRecord(this.#records, path, record);
    }
  }

  #start(path: string): Running {
    const abort = new AbortController();
    const onEnd = (): void => abort.abort(this.#end.signal.reason);
    this.#end.signal.addEventListener("abort", onEnd, { once: true });
    if (this.#end.signal.aborted) onEnd();
    const work = async (): Promise<string> => {
      await this.#turn(abort.signal);
      try {
        return await this.#read(path, abort.signal, this.#breather(abort.signal));
      } finally {
        this.#free += 1;
        this.#waiting.shift()?.();
      }
    };
    const promise = work().finally(() => {
      this.#end.signal.removeEventListener("abort", onEnd);
      if (this.#running.get(path) === running) this.#running.delete(path);
    });
    // Whoever waits sees it; when nobody does, it was called off.
    promise.catch(() => undefined);
    const running: Running = { promise, abort, waiters: 0 };
    this.#running.set(path, running);
    return running;
  }

  /** Waits until fewer files are read than may be. */
  async #turn(signal: AbortSignal): Promise<void> {
    while (this.#free === 0) {
      let wake = nothing;
      const turn = new Promise<void>((resolve) => {
        wake = resolve;
        this.#waiting.push(resolve);
      });
      try {
        await unlessAborted(turn, signal);
      } catch (error) {
        const at = this.#waiting.indexOf(wake);
        // The turn came at the same moment: it is another's.
        if (at === -1) this.#waiting.shift()?.();
        else this.#waiting.splice(at, 1);
        throw error;
      }
    }
    signal.throwIfAborted();
    this.#free -= 1;
  }

  #breather(signal: AbortSignal): (doneBytes: number) => Promise<void> | undefined {
    const { clock } = this.#options;
    let nextAt = BREATH_BYTES;
    let since = clock.elapsed();
    return (done) => {
      if (done < nextAt) return undefined;
      nextAt = done + BREATH_BYTES;
      return clock.sleep(clock.elapsed() - since, signal).then(() => {
        since = clock.elapsed();
      });
    };
  }

  async #read(
    path: string,
    signal: AbortSignal,
    onRead: (doneBytes: number, totalBytes: number) => Promise<void> | undefined,
  ): Promise<string> {
    for (let reads = 0; reads < READS_MAX; reads += 1) {
      const read = await hashFile(path, { signal, onRead });
      if (read === null) continue;
      const before = this.#records.get(path);
      const isOurs = before !== undefined && isSameFile(before, read.identity);
      const fetchedFor = isOurs ? before.fetchedFor : null;
      this.#put(path, { ...read.identity, sha256: read.sha256, fetchedFor });
      await this.#save();
      return read.sha256;
    }
    throw new Error(`${path} was changed each time while it was read`);
  }

  #put(path: string, record: HashRecord): void {
    putRecord(this.#records, path, record);
    this.#unsaved.add(path);
  }

  /** One after the other; a failure is told, and makes nothing worse than a second reading. */
  #save(): Promise<void> {
    this.#saving = this.#saving.then(async () => {
      if (this.#unsaved.size === 0) return;
      try {
        await this.#saveNow();
      } catch (error) {
        this.#options.onTrouble?.(error);
      }
    });
    return this.#saving;
  }

  /** Another process may have written meanwhile: its records are kept beside ours. */
  async #saveNow(): Promise<void> {
    const { file, clock } = this.#options;
    await mkdir(dirname(file), { recursive: true });
    await withFileLock(`${file}.lock`, { clock, timeoutMs: LOCK_MS }, async () => {
      const saving = [...this.#unsaved];
      const merged = parseHashRecords(await readFile(file, "utf8").catch(() => ""));
      this.#take(merged);
      for (const path of saving) {
        const record = this.#records.get(path);
        if (record !== undefined) putRecord(merged, path, joined(record, merged.get(path)));
      }
      await saveTextAtomically(file, hashRecordsText(merged), 0o600);
      this.#loaded = identityNow(file);
      for (const path of saving) this.#unsaved.delete(path);
    });
  }
}

/** Reading a file anew does not make forgotten that it is ours. */
function joined(record: HashRecord, before: HashRecord | undefined): HashRecord {
  if (before === undefined || record.fetchedFor !== null || !isSameFile(record, before))
    return record;
  return { ...record, fetchedFor: before.fetchedFor };
}

/** Null for what is not there, no file, or not to be looked at. */
function identityNow(path: string): FileIdentity | null {
  try {
    const facts = statSync(path, { bigint: true, throwIfNoEntry: false });
    return facts === undefined ? null : toIdentity(facts);
  } catch {
    return null;
  }
}

/** The promise, or the signal's reason if that comes first. */
async function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let onAbort = nothing;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

function nothing(): void {}
