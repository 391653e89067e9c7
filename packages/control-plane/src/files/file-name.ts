import { MAX_FILE_NAME_BYTES } from "./model.ts";

/** A file name that stays in its folder, or why it is none. */
export type FileNameResult =
  | { readonly kind: "valid"; readonly name: string }
  | { readonly kind: "invalid"; readonly reason: string };

/** Control characters, and what Windows keeps for itself (`:` opens a stream of another name). */
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const FORBIDDEN_CHARACTERS = /[\u0000-\u001f\u007f-\u009f\\:*?"<>|]/;
/** Marks that turn the direction of text: a name must read as what it is. */
const DIRECTION_MARKS = /[\u200e\u200f\u202a-\u202e\u2066-\u2069]/;
const LONE_SURROGATE = /\p{Surrogate}/u;
/** Folders in a name at most. */
const MAX_SEGMENTS = 8;

/**
 * Reads a caller's file name: one or more parts separated by `/`, relative, inside its folder, in
 * every file system it may meet (ours and ComfyUI's host's).
 */
export function parseFileName(text: string): FileNameResult {
  const invalid = (reason: string): FileNameResult => ({ kind: "invalid", reason });
  if (text === "") return invalid("the name is empty");
  if (Buffer.byteLength(text) > MAX_FILE_NAME_BYTES) {
    return invalid(`the name has more than ${MAX_FILE_NAME_BYTES} bytes`);
  }
  if (FORBIDDEN_CHARACTERS.test(text)) {
    return invalid('the name has a control character or one of \\ : * ? " < > |');
  }
  if (DIRECTION_MARKS.test(text) || LONE_SURROGATE.test(text)) {
    return invalid("the name has characters that cannot be shown as they are");
  }
  if (text.startsWith("/")) return invalid("the name is absolute; leave out the first /");
  const segments = text.split("/");
  if (segments.length > MAX_SEGMENTS) return invalid(`more than ${MAX_SEGMENTS} folders deep`);
  for (const segment of segments) {
    if (segment === "") return invalid("a part of the name is empty");
    if (segment === "." || segment === "..") return invalid(`the name has a "${segment}" in it`);
    if (segment !== segment.trim() || segment.endsWith(".")) {
      return invalid("a part of the name begins or ends with a space or ends with a dot");
    }
  }
  return { kind: "valid", name: text };
}

/** A name for what a URL gives: its last part, as far as that is a name. */
export function nameFromUrl(url: string): FileNameResult {
  const last = new URL(url).pathname.split("/").at(-1) ?? "";
  try {
    return parseFileName(decodeURIComponent(last));
  } catch {
    return { kind: "invalid", reason: "the URL's last part is not a name" };
  }
}
