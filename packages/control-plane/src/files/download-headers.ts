/** Headers under which bytes of somebody else's making are handed out. Pure. */
import { DEFAULT_MEDIA_TYPE, MAX_MEDIA_TYPE_LENGTH, type ByteRange } from "./model.ts";

const MEDIA_TYPE =
  /^[a-z0-9][a-z0-9!#$&^_.+-]{0,63}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}(?:; ?[a-z0-9-]+=[a-z0-9._-]+)?$/;

/** Types that a browser shows without running anything in them. SVG and HTML are not among them. */
const SHOWN = new Set([
  "image/png",
  "image/jpeg",
  "image/webp",
  "image/gif",
  "image/avif",
  "image/bmp",
  "video/mp4",
  "video/webm",
  "audio/mpeg",
  "audio/wav",
  "audio/x-wav",
  "audio/flac",
  "audio/ogg",
  "audio/opus",
  "audio/webm",
  "text/plain",
]);

/** A media type as given if it is one, else that of unknown bytes. */
export function cleanMediaType(text: string | undefined): string {
  const type = (text ?? "").trim().toLowerCase();
  return type.length <= MAX_MEDIA_TYPE_LENGTH && MEDIA_TYPE.test(type) ? type : DEFAULT_MEDIA_TYPE;
}

/**
 * `Content-Disposition` of a file: shown in place when a browser runs nothing in it, else saved. The
 * name goes out twice, in ASCII and as RFC 8187 has it.
 */
export function contentDisposition(name: string, mediaType: string): string {
  const last = name.split("/").at(-1) ?? "";
  const ascii = last.replaceAll(/[^ -~]|["\\%]/g, "_");
  const how = SHOWN.has(mediaType.split(";", 1)[0] ?? "") ? "inline" : "attachment";
  return `${how}; filename="${ascii}"; filename*=UTF-8''${encodeStrictly(last)}`;
}

/** `encodeURIComponent` leaves some characters that RFC 8187 does not allow. */
function encodeStrictly(text: string): string {
  return encodeURIComponent(text.toWellFormed()).replaceAll(
    /['()*!]/g,
    (character) => `%${character.codePointAt(0)?.toString(16).toUpperCase()}`,
  );
}

/** What a `Range` header asks for of a blob. */
export type RangeDecision =
  | { readonly kind: "whole" }
  | { readonly kind: "part"; readonly range: ByteRange }
  | { readonly kind: "unsatisfiable" };

const RANGE = /^bytes=(\d*)-(\d*)$/;

/**
 * Reads a `Range` header. Several ranges, other units and nonsense are answered with the whole, as
 * RFC 9110 allows; a range behind the end is unsatisfiable.
 */
export function decideRange(header: string | undefined, sizeBytes: number): RangeDecision {
  const match = header === undefined ? null : RANGE.exec(header.trim());
  if (match === null) return { kind: "whole" };
  const [first, last] = [match[1] ?? "", match[2] ?? ""];
  if (first === "" && last === "") return { kind: "whole" };
  if (first === "") {
    const length = Math.min(Number(last), sizeBytes);
    if (length === 0) return { kind: "unsatisfiable" };
    return { kind: "part", range: { start: sizeBytes - length, end: sizeBytes - 1 } };
  }
  const start = Number(first);
  const end = last === "" ? sizeBytes - 1 : Math.min(Number(last), sizeBytes - 1);
  if (last !== "" && Number(last) < start) return { kind: "whole" };
  return start < sizeBytes ? { kind: "part", range: { start, end } } : { kind: "unsatisfiable" };
}

/** Whether an `If-None-Match` header names this ETag, or any. */
export function matchesEtag(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header
    .split(",")
    .map((part) => part.trim().replace(/^W\//, ""))
    .some((part) => part === "*" || part === etag);
}

/** What goes with every download: a browser must neither guess a type nor run anything. */
export const DOWNLOAD_HEADERS: Readonly<Record<string, string>> = {
  "x-content-type-options": "nosniff",
  "content-security-policy": "default-src 'none'; sandbox",
  "cross-origin-resource-policy": "same-origin",
  "accept-ranges": "bytes",
  // Bytes under a hash never change; but whose they are may be asked anew each time.
  "cache-control": "private, no-cache",
};
