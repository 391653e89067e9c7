/** `batch archive`: what is done of a book as one file. */
import { failureOf, type ApiClient } from "../api/api-client.ts";
import { batchPath } from "../api/batch-calls.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { bytesText } from "../terminal/durations.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { assertFree, saveFile, type SavedFileOptions } from "./saved-file.ts";

/** What a zip ends with: without it the archive was cut. */
const END_OF_ZIP = Buffer.from([0x50, 0x4b, 0x05, 0x06]);
/** Named near the end of the zip's directory where the server missed files. */
const MISSING = "MISSING.txt";

/** The bytes of an answer. Throws {@link CommandFailure} for one that refuses. */
export async function* bodyOf(
  api: ApiClient,
  path: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  const answer = await api.request(path, { headers: { accept: "*/*" }, signal });
  if (answer.kind !== "answered") throw failureOf(answer, api.baseUrl);
  for await (const chunk of answer.response.body ?? []) yield chunk as Uint8Array;
}

/** Fetches the archive of a book into a file; the exit code tells whether the server missed files. */
export async function saveArchive(
  api: ApiClient,
  ref: string,
  place: SavedFileOptions,
  { terminal, signal }: { readonly terminal: Terminal; readonly signal: AbortSignal },
): Promise<ExitCode> {
  await assertFree(place);
  // The first piece is asked for before anything is written, so that a refusal is told as one.
  const body = bodyOf(api, `${batchPath(ref)}/archive`, signal);
  const first = await body.next();
  const file = await saveFile(
    rest(first, body),
    place,
    ({ tail }) => tail.lastIndexOf(END_OF_ZIP) >= 0,
  );
  terminal.line(place.path);
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
