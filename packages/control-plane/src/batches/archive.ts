/** A book as one zip that is written while it is read: nothing of it is ever whole in memory or on disk. */
import { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import type { BatchView, OutputView } from "@holdfast/contract";
import { ZipFile } from "yazl";
import { unavailable } from "../files/blob-service.ts";
import type { ByteRange, OpenResult } from "../files/model.ts";
import { nameOutputs, type NamedOutput } from "./archive-names.ts";
import type { BookReader, PageWithOutputs } from "./book-files.ts";

/** Opens the bytes of an output, or a part of them. */
export type OpenBlob = (sha256: string, range?: ByteRange) => Promise<OpenResult>;

/** What an archive is made of. */
export interface ArchiveSource {
  readonly batch: BatchView;
  readonly largestPage: number;
  readonly pages: BookReader["pages"];
  readonly open: OpenBlob;
  /** Epoch ms; the files of the archive are of this time. */
  readonly now: number;
}

/** How often a blob whose stream breaks is opened again where it broke. */
const MAX_REOPENS = 3;

/**
 * Streams the archive: what is done now, by page; `pages.json` with all pages as they are and the names
 * of their files; `MISSING.txt` where bytes are no longer in the store. A store that fails in between
 * cuts the stream: an archive that looks whole would be worse. Ends when whoever reads it goes away.
 *
 * Store-only: images do not get smaller. Besides one blob's chunks it holds some hundred bytes a file,
 * for the zip's own directory.
 */
export function streamArchive(source: ArchiveSource): Readable {
  const zip = new ZipFile();
  const output = zip.outputStream as Readable;
  const gone = new AbortController();
  output.once("close", () => gone.abort());
  const fail = (error: unknown): void => {
    output.destroy(error instanceof Error ? error : new Error(String(error)));
  };
  zip.on("error", fail);
  fillZip(zip, source, gone.signal).catch((error: unknown) => {
    // The reader that went away has closed the stream already.
    if (!gone.signal.aborted) fail(error);
  });
  return output;
}

interface Contents {
  /** Ids of outputs that are in the archive. */
  readonly written: Set<string>;
  readonly missing: Map<string, { readonly name: string; readonly reason: string }>;
}

async function fillZip(zip: ZipFile, source: ArchiveSource, signal: AbortSignal): Promise<void> {
  const contents: Contents = { written: new Set(), missing: new Map() };
  const { batch, largestPage, pages } = source;
  for await (const step of pages(batch.id, { status: "done", signal })) {
    for (const { page, outputs } of step) {
      for (const named of nameOutputs(page.page, outputs, largestPage)) {
        signal.throwIfAborted();
        await addOutput(zip, named, source, contents, signal);
      }
    }
  }
  signal.throwIfAborted();
  const mtime = new Date(source.now);
  if (contents.missing.size > 0) {
    zip.addBuffer(Buffer.from(missingText(contents)), "MISSING.txt", { mtime });
  }
  const json = Readable.from(pagesJson(source, contents, signal), { objectMode: false });
  await addStream(zip, json, "pages.json", { mtime, compress: true }, signal);
  zip.end();
}

async function addOutput(
  zip: ZipFile,
  { name, output }: NamedOutput,
  { open, now }: ArchiveSource,
  { written, missing }: Contents,
  signal: AbortSignal,
): Promise<void> {
  const { id, sha256, sizeBytes: size } = output;
  const opened = await open(sha256);
  if (opened.kind === "unavailable") throw unavailable(opened);
  if (opened.kind === "missing" || opened.sizeBytes !== size) {
    missing.set(id, { name, reason: "its bytes are no longer in the store" });
    return;
  }
  const bytes = Readable.from(readBlob(open, output, opened.body), { objectMode: false });
  await addStream(zip, bytes, name, { mtime: new Date(now), compress: false, size }, signal);
  written.add(id);
}

/** Resolves when all of a stream has been taken into the archive, as fast as its reader takes it. */
async function addStream(
  zip: ZipFile,
  stream: Readable,
  name: string,
  options: Parameters<ZipFile["addReadStream"]>[2],
  signal: AbortSignal,
): Promise<void> {
  const stop = (): void => void stream.destroy();
  signal.addEventListener("abort", stop, { once: true });
  try {
    const ended = finished(stream);
    zip.addReadStream(stream, name, options);
    await ended;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** The bytes of a blob; where its stream breaks it goes on from there. */
async function* readBlob(
  open: OpenBlob,
  { sha256, sizeBytes }: Pick<OutputView, "sha256" | "sizeBytes">,
  first: Uint8Array | AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  let body = first;
  let read = 0;
  for (let reopens = 0; ; reopens += 1) {
    const pieces = toPieces(body)[Symbol.asyncIterator]();
    let trouble: unknown = new Error(`the store gave ${read} of ${sizeBytes} bytes of ${sha256}`);
    try {
      for (;;) {
        // Only what the store throws is caught: not what comes in at the `yield`.
        const piece = await pieces.next().catch((error: unknown) => ({ error }));
        if ("error" in piece) {
          trouble = piece.error;
          break;
        }
        if (piece.done === true) break;
        read += piece.value.length;
        yield piece.value;
      }
    } finally {
      await pieces.return?.();
    }
    if (read >= sizeBytes) return;
    if (reopens === MAX_REOPENS) throw trouble;
    const opened = await open(sha256, { start: read, end: sizeBytes - 1 });
    if (opened.kind !== "found") throw trouble;
    body = opened.body;
  }
}

async function* toPieces(
  body: Uint8Array | AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array, void, void> {
  if (body instanceof Uint8Array) yield body;
  else yield* body;
}

function missingText({ missing }: Contents): string {
  const lines = [...missing].map(([id, { name, reason }]) => `${name}  ${id}  ${reason}\n`);
  return `${lines.length === 1 ? "This file is" : "These files are"} not in the archive:\n\n${lines.join("")}`;
}

/** All pages as they are now. Read once more, so that none is held meanwhile. */
async function* pagesJson(
  { batch, largestPage, pages }: ArchiveSource,
  contents: Contents,
  signal: AbortSignal,
): AsyncGenerator<string, void, void> {
  yield `{"batch":${JSON.stringify(batch)},"pages":[`;
  let separator = "\n";
  for await (const step of pages(batch.id, { signal })) {
    for (const page of step) {
      yield separator + JSON.stringify(toEntry(page, largestPage, contents));
      separator = ",\n";
    }
  }
  yield "\n]}\n";
}

function toEntry(
  { page, outputs }: PageWithOutputs,
  largestPage: number,
  { written, missing }: Contents,
): unknown {
  const named = nameOutputs(page.page, outputs, largestPage);
  const lost = named.flatMap(({ output }) => missing.get(output.id) ?? []);
  return {
    ...page,
    files: named.filter(({ output }) => written.has(output.id)).map(({ name }) => name),
    ...(lost.length > 0 && { missing: lost }),
  };
}
