/** `batch archive` and `batch contact-sheet`: a book as files. */
import { mkdir, writeFile } from "node:fs/promises";
import { basename, dirname, join, parse } from "node:path";
import { failureOf, type ApiClient } from "../api/api-client.ts";
import { batchPath } from "../api/batch-calls.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { bytesText } from "../terminal/durations.ts";
import type { Terminal } from "../terminal/terminal.ts";
import type { FileOptions } from "./options.ts";
import { assertFree, saveFile } from "./saved-file.ts";

/** What a zip ends with: without it the archive was cut. */
const END_OF_ZIP = Buffer.from([0x50, 0x4b, 0x05, 0x06]);
/** Named near the end of the zip's directory where the server missed files. */
const MISSING = "MISSING.txt";
/** Pages that one sheet has at most. */
const SHEET_PAGES = 10_000;
/** Longest sheet that is read. */
const MAX_SHEET_LENGTH = 256 * 1024 * 1024;
const IMAGES_AT_ONCE = 4;

type Writing = Pick<FileOptions, "output" | "force">;

async function* bodyOf(api: ApiClient, path: string): AsyncGenerator<Uint8Array, void, void> {
  const answer = await api.request(path, { headers: { accept: "*/*" } });
  if (answer.kind !== "answered") throw failureOf(answer, api.baseUrl);
  for await (const chunk of answer.response.body ?? []) yield chunk as Uint8Array;
}

/** Fetches the archive of a book into a file; the exit code tells whether the server missed files. */
export async function saveArchive(
  api: ApiClient,
  ref: string,
  { output, force = false }: Writing,
  terminal: Terminal,
): Promise<ExitCode> {
  const place = { path: output, force };
  await assertFree(place);
  // The first piece is asked for before anything is written, so that a refusal is told as one.
  const body = bodyOf(api, `${batchPath(ref)}/archive`);
  const first = await body.next();
  const file = await saveFile(
    rest(first, body),
    place,
    ({ tail }) => tail.lastIndexOf(END_OF_ZIP) >= 0,
  );
  terminal.line(output);
  terminal.note(bytesText(file.sizeBytes));
  if (!file.tail.includes(MISSING)) return EXIT.ok;
  terminal.note(`some files are no longer in the server's store: see ${MISSING} in it`);
  return EXIT.outputsMissing;
}

async function* rest<T>(
  first: IteratorResult<T, void>,
  body: AsyncGenerator<T, void, void>,
): AsyncGenerator<T, void, void> {
  if (first.done === true) return;
  yield first.value;
  yield* body;
}

/** Fetches the contact sheet of a book into a file, with its pictures beside it where that is wished. */
export async function saveContactSheet(
  api: ApiClient,
  ref: string,
  { output, status, images = false, force = false }: Omit<FileOptions, "url" | "apiKey">,
  terminal: Terminal,
): Promise<ExitCode> {
  const place = { path: output, force };
  await assertFree(place);
  const path = `${batchPath(ref)}/contact-sheet`;
  const query = new URLSearchParams({ limit: String(SHEET_PAGES), ...(status && { status }) });
  const html = await readSheet(bodyOf(api, `${path}?${query.toString()}`));
  const fetched = images ? await fetchPictures(api, html, output) : new Map<string, string>();
  const bytes = Buffer.from(placeLinks(html, `${api.baseUrl}${path}`, api.baseUrl, fetched));
  await saveFile(once(bytes), place);
  terminal.line(output);
  const missed = images ? picturesOf(html).length - fetched.size : 0;
  if (missed === 0) return EXIT.ok;
  terminal.note(`${missed} pictures could not be fetched; they are links to the server`);
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

const PICTURE = /<img src="(\/api\/v1\/outputs\/([A-Za-z0-9_]{1,64})\/content)"/g;

function picturesOf(html: string): readonly string[] {
  return [...new Set([...html.matchAll(PICTURE)].map(([, path]) => path ?? ""))];
}

/** Links of a page that is no longer at its server: to files beside it, or to the server. */
function placeLinks(
  html: string,
  sheetUrl: string,
  baseUrl: string,
  fetched: ReadonlyMap<string, string>,
): string {
  const quoted = (url: string): string => url.replaceAll("&", "&amp;").replaceAll('"', "&quot;");
  return html
    .replaceAll(/<img src="(\/api\/[^"]*)"/g, (_, path: string) => {
      const file = fetched.get(path);
      return `<img src="${quoted(file === undefined ? `${baseUrl}${path}` : file)}"`;
    })
    .replaceAll('href="/api/', () => `href="${quoted(baseUrl)}/api/`)
    .replaceAll('href="?', () => `href="${quoted(sheetUrl)}?`);
}

const PICTURE_TYPES: Readonly<Record<string, string>> = {
  "image/png": "png",
  "image/jpeg": "jpg",
  "image/webp": "webp",
  "image/gif": "gif",
  "image/avif": "avif",
  "image/bmp": "bmp",
};

/** Fetches the pictures of a sheet into a folder beside it; gives their places by their paths. */
async function fetchPictures(
  api: ApiClient,
  html: string,
  output: string,
): Promise<ReadonlyMap<string, string>> {
  const folder = join(dirname(output), `${parse(output).name}-files`);
  const paths = picturesOf(html);
  const fetched = new Map<string, string>();
  if (paths.length > 0) await mkdir(folder, { recursive: true });
  let next = 0;
  const work = async (): Promise<void> => {
    for (let at = next++; at < paths.length; at = next++) {
      const path = paths[at] ?? "";
      const answer = await api.request(path, { headers: { accept: "*/*" } });
      if (answer.kind !== "answered") continue;
      const type = answer.response.headers.get("content-type")?.split(";", 1)[0] ?? "";
      const bytes = await answer.response.arrayBuffer().catch(() => undefined);
      if (bytes === undefined || !Object.hasOwn(PICTURE_TYPES, type)) continue;
      const name = `${path.split("/").at(-2)}.${PICTURE_TYPES[type]}`;
      await writeFile(join(folder, name), new Uint8Array(bytes));
      fetched.set(path, `${encodeURIComponent(basename(folder))}/${name}`);
    }
  };
  await Promise.all(Array.from({ length: IMAGES_AT_ONCE }, work));
  return fetched;
}
