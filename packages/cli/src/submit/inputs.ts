import { stat } from "node:fs/promises";
import { createReadStream } from "node:fs";
import { basename } from "node:path";
import { Readable } from "node:stream";
import { failureOf, type ApiClient } from "../api/api-client.ts";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";

/** A file to upload, under the name that the graph reads it by. */
export interface InputFile {
  readonly name: string;
  readonly path: string;
}

/** Reads `name=path` or `path`; the name of a bare path is its last part. */
export function parseInput(text: string): InputFile {
  const equals = text.indexOf("=");
  if (equals > 0) return { name: text.slice(0, equals), path: text.slice(equals + 1) };
  return { name: basename(text), path: text };
}

const MEDIA_TYPES: Readonly<Record<string, string>> = {
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  webp: "image/webp",
  gif: "image/gif",
  mp4: "video/mp4",
  webm: "video/webm",
  wav: "audio/wav",
  mp3: "audio/mpeg",
  flac: "audio/flac",
};

/** Uploads a file by stream. Throws {@link CommandFailure} when it cannot be read or is refused. */
export async function uploadInput(
  api: ApiClient,
  input: InputFile,
  signal?: AbortSignal,
): Promise<void> {
  const info = await stat(input.path).catch((cause: unknown) => {
    throw new CommandFailure(EXIT.refused, `--input: there is no file ${input.path}`, { cause });
  });
  if (!info.isFile()) {
    throw new CommandFailure(EXIT.refused, `--input: ${input.path} is not a file`);
  }
  const extension = input.path.split(".").at(-1)?.toLowerCase() ?? "";
  const body = Readable.toWeb(createReadStream(input.path)) as ReadableStream;
  const answer = await api.request(`/api/v1/files?name=${encodeURIComponent(input.name)}`, {
    method: "POST",
    body,
    contentType: MEDIA_TYPES[extension] ?? "application/octet-stream",
    ...(signal === undefined ? {} : { signal }),
  });
  if (answer.kind !== "answered") throw failureOf(answer, api.baseUrl);
  await answer.response.body?.cancel();
}
