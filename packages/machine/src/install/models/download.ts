/**
 * Fetches one file of known SHA-256.
 *
 * I1. What has the file's name is the whole file with the right hash, or was there before.
 * I2. Bytes that reached the kept part are not fetched again, whatever ended the try before: a broken
 *     connection, a kill, another run. The exception is a part that the hash or the server disproves.
 * I3. Nothing has a time limit as long as bytes come.
 */
import { backoffMs, type BackoffPolicy, type Clock, type Random } from "@holdfast/runtime";
import { looksLikeWebPage, statusFailure } from "./answer-status.ts";
import {
  diskFailure,
  DiskRefusal,
  downloadFailure,
  type DownloadFailure,
} from "./download-failure.ts";
import type { DownloadSource, Opened } from "./download-source.ts";
import { connectionFailure } from "./http-source.ts";
import {
  partPlace,
  preparePartFolder,
  readRecord,
  removePart,
  saveRecord,
  type PartPlace,
} from "./part-store.ts";
import { CHUNK_BYTES, onDisk, openPartFile, PartWriter, type OpenPart } from "./part-writer.ts";
import { placeFile } from "./place-file.ts";
import { judgeAnswer, planRequest, type PartRecord } from "./resume-plan.ts";
import { watchStall, type StallWatch } from "./stall-watch.ts";

/** A file to fetch. */
export interface DownloadRequest {
  readonly url: string;
  /** Lower-case hexadecimal digits. */
  readonly sha256: string;
  readonly sizeBytes: number | null;
  /** In words, where it has a licence to accept. */
  readonly licence: string | null;
  /** Its name in the end; the folder has to be there. */
  readonly target: string;
  /** Where its part is kept meanwhile: on the same disk. */
  readonly partialFolder: string;
  /** Whether what has the name now, if anything, may be replaced. */
  mayReplace(): boolean;
}

/** What a download works with. */
export interface DownloadDeps {
  readonly source: DownloadSource;
  readonly clock: Clock;
  readonly random: Random;
  readonly openPart?: OpenPart;
  readonly limits?: Partial<DownloadLimits>;
  /** At most a few times a second. `total` is null while it is not known. */
  readonly onProgress?: (doneBytes: number, totalBytes: number | null) => void;
  /** One line of what happens. */
  readonly onNote?: (line: string) => void;
}

/** What may change for tests and odd networks. */
export interface DownloadLimits {
  /** Without a byte. */
  readonly stallMs: number;
  /** Tries in a row that do not get a chunk further. */
  readonly tries: number;
  readonly backoff: BackoffPolicy;
}

const LIMITS: DownloadLimits = {
  stallMs: 60_000,
  tries: 8,
  backoff: { initialMs: 1_000, factor: 2, maxMs: 60_000, jitter: 0.5 },
};
const PROGRESS_EVERY_MS = 250;

/** What became of a download. */
export type DownloadOutcome =
  | {
      readonly kind: "fetched";
      readonly sizeBytes: number;
      /** Of these, received by this call: the rest was kept from before. */
      readonly receivedBytes: number;
    }
  | { readonly kind: "failed"; readonly failure: DownloadFailure };

/**
 * Fetches a file and gives it its name. Whoever calls holds the lock of the part. Throws the signal's
 * reason when aborted; what was fetched is kept then, as after a failure that another try may end.
 */
export async function downloadFile(
  request: DownloadRequest,
  deps: DownloadDeps,
  signal: AbortSignal,
): Promise<DownloadOutcome> {
  const place = partPlace(request.partialFolder, request.sha256);
  let download: Download | undefined;
  try {
    await preparePartFolder(place);
    const writer = await PartWriter.open(place.part, deps.openPart ?? openPartFile);
    download = new Download(request, deps, place, writer, await readRecord(place), signal);
    return await download.run();
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    return { kind: "failed", failure: diskFailure(error, place.part) };
  } finally {
    await download?.close();
  }
}

type Refused =
  /** What came, or was kept, is good for nothing: ask for the whole file at once. */
  | { readonly kind: "ask_whole"; readonly failure: DownloadFailure }
  | { readonly kind: "failed"; readonly failure: DownloadFailure };
type TryEnd = { readonly kind: "complete" } | Refused;
type Finish = Extract<DownloadOutcome, { kind: "fetched" }> | Refused;

class Download {
  readonly #request: DownloadRequest;
  readonly #deps: DownloadDeps;
  readonly #limits: DownloadLimits;
  readonly #place: PartPlace;
  readonly #writer: PartWriter;
  readonly #signal: AbortSignal;
  #record: PartRecord | null;
  #totalBytes: number | null;
  #receivedBytes = 0;
  /** Put together from several answers: a wrong hash may then be the joint's, and not the server's file. */
  #isJoined: boolean;
  #wholeOnly = false;
  #hasBegunAnew = false;
  #toldAt = -Infinity;

  constructor(
    request: DownloadRequest,
    deps: DownloadDeps,
    place: PartPlace,
    writer: PartWriter,
    record: PartRecord | null,
    signal: AbortSignal,
  ) {
    this.#request = request;
    this.#deps = deps;
    this.#limits = { ...LIMITS, ...deps.limits };
    this.#place = place;
    this.#writer = writer;
    this.#record = record;
    this.#totalBytes = request.sizeBytes ?? record?.totalBytes ?? null;
    this.#isJoined = writer.sizeBytes > 0;
    this.#signal = signal;
  }

  async close(): Promise<void> {
    await this.#writer.close();
  }

  /** Tries until the file is there, or no further try makes sense. */
  async run(): Promise<DownloadOutcome> {
    let mark = this.#writer.sizeBytes;
    let failures = 0;
    for (;;) {
      this.#signal.throwIfAborted();
      const end = await this.#tryOnce();
      this.#signal.throwIfAborted();
      const finished = end.kind === "complete" ? await this.#finish() : end;
      if (finished.kind === "fetched") return finished;
      if (finished.kind === "ask_whole" && !this.#hasBegunAnew) {
        this.#note(`${finished.failure.message}; fetching the whole file`);
        this.#wholeOnly = true;
        this.#hasBegunAnew = true;
        continue;
      }
      const { failure } = finished;
      if (!failure.isTransient) return { kind: "failed", failure };
      if (this.#writer.sizeBytes >= mark + CHUNK_BYTES) {
        failures = 0;
        mark = this.#writer.sizeBytes;
      }
      failures += 1;
      if (failures >= this.#limits.tries) return { kind: "failed", failure };
      await this.#rest(failure, failures);
    }
  }

  async #rest(failure: DownloadFailure, failures: number): Promise<void> {
    const { clock, random } = this.#deps;
    const ownMs = backoffMs(this.#limits.backoff, failures, random);
    const restMs = Math.max(ownMs, failure.retryAfterMs ?? 0);
    this.#note(`${failure.message}; trying again in ${Math.ceil(restMs / 1000)} s`);
    await clock.sleep(restMs, this.#signal);
  }

  async #tryOnce(): Promise<TryEnd> {
    const { url, sizeBytes, licence } = this.#request;
    const part = { sizeBytes: this.#writer.sizeBytes, record: this.#record };
    const plan = planRequest(part, { url, sizeBytes }, this.#wholeOnly);
    if (plan.kind === "verify") return { kind: "complete" };
    // Reading what is kept takes as long as the answer: both at once.
    if (plan.kind === "rest") this.#writer.startHashing();
    const connection = this.#connect();
    try {
      const opened = await this.#deps.source.open(url, { plan, signal: connection.signal });
      connection.note();
      if (opened.kind === "failed") return opened;
      try {
        const refused = statusFailure(opened, { ...opened.asked, licence });
        if (refused !== null) return { kind: "failed", failure: refused };
        const verdict = judgeAnswer(plan, opened, part, { url, sizeBytes });
        if (verdict.kind === "verify") return { kind: "complete" };
        if (verdict.kind === "ask_whole" || verdict.kind === "failed") return verdict;
        this.#totalBytes = verdict.totalBytes;
        return await this.#take(opened, verdict, connection);
      } finally {
        await opened.cancel();
      }
    } catch (error) {
      return { kind: "failed", failure: this.#broken(error, connection) };
    } finally {
      connection.end();
      await this.#writer.flush().catch(() => undefined);
    }
  }

  /** Takes the body of an answer. */
  async #take(
    opened: Extract<Opened, { kind: "answered" }>,
    verdict: { readonly kind: "append" | "restart"; readonly record: PartRecord },
    connection: Connection,
  ): Promise<TryEnd> {
    let isAtStart = verdict.kind === "restart";
    const begin = async (): Promise<void> => {
      if (isAtStart) {
        await this.#writer.restart();
        this.#isJoined = false;
        this.#wholeOnly = false;
      }
      isAtStart = false;
      if (verdict.kind === "restart" || this.#record?.url !== verdict.record.url) {
        this.#record = verdict.record;
        await onDisk(() => saveRecord(this.#place, verdict.record));
      }
    };
    if (verdict.kind === "append") {
      this.#isJoined = true;
      await begin();
    }
    for await (const chunk of opened.body) {
      connection.note();
      if (chunk.byteLength === 0) continue;
      if (isAtStart) {
        // Before anything that is kept goes: a login page has a status of 200 too.
        if (looksLikeWebPage(chunk)) return webPage(opened.asked.url);
        await begin();
      }
      const tooLong = this.#tooLong(chunk.byteLength);
      if (tooLong !== null) return tooLong;
      this.#receivedBytes += chunk.byteLength;
      const full = this.#writer.push(chunk);
      if (full !== undefined) await full;
      this.#tell(false);
    }
    if (isAtStart) await begin();
    return this.#atEnd();
  }

  #tooLong(more: number): Refused | null {
    if (this.#totalBytes === null || this.#writer.sizeBytes + more <= this.#totalBytes) return null;
    const failure = downloadFailure(
      "wrong_size",
      `expected ${this.#totalBytes} bytes, and the server sends more`,
      "Correct sizeBytes, sha256 or url of the model in machine.yaml.",
    );
    return { kind: "failed", failure };
  }

  #atEnd(): TryEnd {
    const { sizeBytes } = this.#writer;
    if (this.#totalBytes === null || sizeBytes === this.#totalBytes) return { kind: "complete" };
    const failure = downloadFailure(
      "truncated",
      `the server ended after ${sizeBytes} of ${this.#totalBytes} bytes`,
      "Look whether the server is in order; what was fetched is kept.",
    );
    return { kind: "failed", failure };
  }

  /** All bytes are there: proves the hash and gives the file its name. */
  async #finish(): Promise<Finish> {
    const { sha256, target } = this.#request;
    const found = await this.#writer.digest();
    this.#signal.throwIfAborted();
    if (found !== sha256) return await this.#wrongHash(found);
    await this.#writer.sync();
    const { sizeBytes } = this.#writer;
    this.#tell(true);
    if ((await placeFile(this.#place.part, target, this.#request.mayReplace())) === "taken") {
      const failure = downloadFailure(
        "target_taken",
        `another file has come to ${target} meanwhile`,
        "Remove that file, or name the model otherwise in machine.yaml, and run it again.",
      );
      return { kind: "failed", failure };
    }
    await removePart(this.#place);
    return { kind: "fetched", sizeBytes, receivedBytes: this.#receivedBytes };
  }

  async #wrongHash(found: string): Promise<Refused> {
    const { sha256 } = this.#request;
    // Never to be gone on from.
    await this.#writer.restart();
    this.#record = null;
    const failure = downloadFailure(
      "wrong_hash",
      `expected the SHA-256 ${sha256}, found ${found}; what was fetched is removed`,
      "Correct sha256 or url of the model in machine.yaml: the server has another file there.",
    );
    if (this.#isJoined) return { kind: "ask_whole", failure };
    await removePart(this.#place);
    return { kind: "failed", failure };
  }

  /** Why an answer broke off: our own doing, the disk's, or the connection's. Throws what is not its own. */
  #broken(error: unknown, connection: Connection): DownloadFailure {
    if (this.#signal.aborted) throw this.#signal.reason;
    if (error instanceof DiskRefusal) throw error;
    const url = new URL(this.#request.url);
    if (connection.hasStalled()) {
      return downloadFailure(
        "stalled",
        `no byte came for ${this.#limits.stallMs / 1000} s from ${url.host}`,
        `Look whether this machine reaches ${url.host}; what was fetched is kept.`,
      );
    }
    return connectionFailure(error, url);
  }

  #connect(): Connection {
    const own = new AbortController();
    const onAbort = (): void => own.abort(this.#signal.reason);
    this.#signal.addEventListener("abort", onAbort, { once: true });
    let hasStalled = false;
    const watch = watchStall(
      this.#deps.clock,
      this.#limits.stallMs,
      () => this.#writer.isWriting,
      () => {
        hasStalled = true;
        own.abort(new Error("stalled"));
      },
    );
    return {
      signal: own.signal,
      note: () => watch.note(),
      hasStalled: () => hasStalled,
      end: () => {
        watch.stop();
        this.#signal.removeEventListener("abort", onAbort);
      },
    };
  }

  #tell(isLast: boolean): void {
    const now = this.#deps.clock.elapsed();
    if (!isLast && now - this.#toldAt < PROGRESS_EVERY_MS) return;
    this.#toldAt = now;
    this.#deps.onProgress?.(this.#writer.sizeBytes, this.#totalBytes);
  }

  #note(line: string): void {
    this.#deps.onNote?.(line);
  }
}

/** One try's connection. */
interface Connection extends Pick<StallWatch, "note"> {
  readonly signal: AbortSignal;
  hasStalled(): boolean;
  end(): void;
}

function webPage(url: string): Refused {
  const failure = downloadFailure(
    "web_page",
    `${url} is a web page, not the file: it may want a login, or its licence accepted`,
    "Name the link of the file itself in machine.yaml, and a token file for the host under downloads.auth if it wants one.",
  );
  return { kind: "failed", failure };
}
