/** Names of files in a book's archive. Pure. */
import type { OutputView } from "@holdfast/contract";
import { keptOutputs } from "./book-files.ts";

/** Digits of a page number at least, so that small books that grow keep their order. */
const MIN_DIGITS = 4;

const EXTENSIONS: ReadonlyMap<string, string> = new Map([
  ["image/png", "png"],
  ["image/jpeg", "jpg"],
  ["image/webp", "webp"],
  ["image/gif", "gif"],
  ["image/avif", "avif"],
  ["image/bmp", "bmp"],
  ["image/tiff", "tiff"],
  ["image/svg+xml", "svg"],
  ["video/mp4", "mp4"],
  ["video/webm", "webm"],
  ["video/quicktime", "mov"],
  ["video/x-matroska", "mkv"],
  ["audio/mpeg", "mp3"],
  ["audio/wav", "wav"],
  ["audio/x-wav", "wav"],
  ["audio/flac", "flac"],
  ["audio/ogg", "ogg"],
  ["audio/opus", "opus"],
  ["audio/webm", "weba"],
  ["text/plain", "txt"],
  ["application/json", "json"],
]);

/** An output of a page, and its name in the archive. */
export interface NamedOutput {
  readonly name: string;
  readonly output: OutputView;
}

/** `0007.png`, and `0007-2.png` for what a page gave besides, in the order in which it gave them. */
export function nameOutputs(
  page: number,
  outputs: readonly OutputView[],
  largestPage: number,
): readonly NamedOutput[] {
  const digits = Math.max(MIN_DIGITS, String(largestPage).length);
  const stem = String(page).padStart(digits, "0");
  return keptOutputs(outputs)
    .toSorted((a, b) => a.ordinal - b.ordinal)
    .map((output, index) => ({
      name: `${stem}${index === 0 ? "" : `-${index + 1}`}.${extensionOf(output)}`,
      output,
    }));
}

/** By media type; of bytes of no known type the end of their own name, where it can be one. */
function extensionOf({ mediaType, name }: OutputView): string {
  const type = mediaType.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  const own = /\.([A-Za-z0-9]{1,12})$/.exec(name)?.[1]?.toLowerCase();
  return EXTENSIONS.get(type) ?? own ?? "bin";
}
