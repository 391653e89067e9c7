/** `batch contact-sheet`: a sheet that can be looked at without its server. */
import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, parse, resolve } from "node:path";
import type { Clock } from "@holdfast/runtime";
import type { ApiClient } from "../api/api-client.ts";
import { batchPath } from "../api/batch-calls.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { bytesText } from "../terminal/durations.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { plainText } from "../terminal/text-table.ts";
import { bodyOf } from "./book-archive.ts";
import { assertFree, saveFile, taken, type SavedFileOptions } from "./saved-file.ts";
import { fetchPictures, type FetchedPicture, type SheetPicture } from "./sheet-pictures.ts";

/** Pages that one sheet has at most. */
const SHEET_PAGES = 10_000;
/** Longest sheet that is read. */
const MAX_SHEET_LENGTH = 256 * 1024 * 1024;
/** Longest reason that stands in the place of a picture. */
const REASON_SHOWN = 200;

/** Which sheet, and where to. */
export interface SheetOptions extends SavedFileOptions {
  readonly status: string | undefined;
  readonly terminal: Terminal;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

type Pictures = ReadonlyMap<string, FetchedPicture>;

/**
 * Fetches the contact sheet of a book into a file, and its pictures into a folder beside it, as browsers
 * do. Pictures that could not be fetched are shown as missing; the exit code tells whether there are any.
 */
export async function saveContactSheet(
  api: ApiClient,
  ref: string,
  options: SheetOptions,
): Promise<ExitCode> {
  const { path, force, status, terminal, signal } = options;
  const folder = join(dirname(resolve(path)), `${parse(path).name}_files`);
  await assertFree(options);
  await assertFree({ path: folder, force });
  const query = new URLSearchParams({
    ...(status !== undefined && { status }),
    limit: String(SHEET_PAGES),
    standalone: "true",
  });
  const sheetPath = `${batchPath(ref)}/contact-sheet?${query.toString()}`;
  const html = await readSheet(bodyOf(api, sheetPath, signal));
  const partial = join(dirname(folder), `.holdfast-${process.pid}.files.part`);
  try {
    const pictures = await fetchInto(partial, api, picturesOf(html), options);
    const isNew = await placeFolder(partial, folder, pictures);
    const page = placePictures(html, api.baseUrl, basename(folder), pictures);
    await saveFile(once(Buffer.from(page)), options).catch(async (error: unknown) => {
      // Pictures without their sheet are of no use.
      if (isNew) await rm(folder, { recursive: true, force: true });
      throw error;
    });
    terminal.line(path);
    return tellPictures(pictures, basename(folder), terminal);
  } finally {
    terminal.progress("");
    await rm(partial, { recursive: true, force: true });
  }
}

async function fetchInto(
  folder: string,
  api: ApiClient,
  wanted: readonly SheetPicture[],
  { terminal, clock, signal }: SheetOptions,
): Promise<Pictures> {
  if (wanted.length === 0) return new Map();
  await mkdir(folder).catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CommandFailure(EXIT.failed, `cannot write there: ${reason}`, { cause });
  });
  return await fetchPictures(api, wanted, {
    folder,
    clock,
    signal,
    onFetched: (count) => terminal.progress(`pictures: ${count} of ${wanted.length}`),
  });
}

/** Gives the folder its name, or fills the one that is there; true when it is new. */
async function placeFolder(partial: string, folder: string, pictures: Pictures): Promise<boolean> {
  if (![...pictures.values()].some(({ kind }) => kind === "fetched")) return false;
  const found = await stat(folder).catch(() => undefined);
  if (found === undefined) {
    await rename(partial, folder);
    return true;
  }
  if (!found.isDirectory()) throw taken(folder);
  // By force: pictures of ours are replaced, and what else is there is left alone.
  for (const name of await readdir(partial)) await rename(join(partial, name), join(folder, name));
  return false;
}

function tellPictures(pictures: Pictures, folder: string, terminal: Terminal): ExitCode {
  const all = [...pictures.values()];
  const fetched = all.filter((one) => one.kind === "fetched");
  const missing = all.filter((one) => one.kind === "missing");
  if (fetched.length > 0) {
    const sizeBytes = fetched.reduce((sum, one) => sum + one.sizeBytes, 0);
    const words = fetched.length === 1 ? "1 picture" : `${fetched.length} pictures`;
    terminal.note(`${words} (${bytesText(sizeBytes)}) in ${folder}`);
  }
  if (missing.length === 0) return EXIT.ok;
  const reasons = [...new Set(missing.map(({ reason }) => plainText(reason)))];
  const more = reasons.length > 1 ? ` (and ${reasons.length - 1} other reasons)` : "";
  terminal.note(
    `${missing.length} of ${all.length} pictures could not be fetched and ${missing.length === 1 ? "is" : "are"} shown as missing: ${reasons[0] ?? ""}${more}`,
  );
  return EXIT.outputsMissing;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  yield bytes;
}

async function readSheet(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > MAX_SHEET_LENGTH) {
      throw new CommandFailure(
        EXIT.unavailable,
        "the server's sheet does not end; is it Holdfast's?",
      );
    }
    chunks.push(chunk);
  }
  const html = Buffer.concat(chunks).toString("utf8");
  if (html.trimEnd().endsWith("</html>")) return html;
  throw new CommandFailure(
    EXIT.unavailable,
    "the sheet did not arrive whole; nothing was written. Try again",
  );
}

/** A picture as the server's sheet has it: a link around an image of the same address. */
const PICTURE =
  /<a href="(\/api\/v1\/outputs\/([A-Za-z0-9_]{1,64})\/content)"><img src="\1" alt="([^"]*)"([^>]*)><\/a>/g;

function picturesOf(html: string): readonly SheetPicture[] {
  const found = [...html.matchAll(PICTURE)].map(
    ([, path = "", outputId = ""]) => [path, { path, outputId }] as const,
  );
  return [...new Map(found).values()];
}

/** The sheet with its pictures beside it; links to other files lead to the server. */
function placePictures(html: string, baseUrl: string, folder: string, pictures: Pictures): string {
  return html
    .replaceAll(PICTURE, (_, path: string, _id: string, alt: string, rest: string) => {
      const picture = pictures.get(path);
      if (picture?.kind === "fetched") {
        const place = `${encodeURIComponent(folder)}/${picture.file}`;
        return `<a href="${place}"><img src="${place}" alt="${alt}"${rest}></a>`;
      }
      const reason = quoted(plainText(picture?.reason ?? "").slice(0, REASON_SHOWN));
      return `<span class="missing">${alt}: this picture could not be fetched (${reason})</span>`;
    })
    .replaceAll('href="/api/', () => `href="${quoted(baseUrl)}/api/`);
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
};

function quoted(text: string): string {
  return text.replaceAll(/[&<>"]/g, (sign) => ENTITIES[sign] ?? "");
}
