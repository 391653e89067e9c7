/**
 * Names and values as MLflow takes them (`utils/validation.py`, 3.17.2). It refuses characters beyond
 * letters, digits and `_ - . : /` and space, and names that would be another path when read as one; one
 * bad name refuses the whole batch. So names are written in an alphabet that it takes, and can be read back.
 */
import { createHash } from "node:crypto";

/** Characters (code points, as Python counts) of a key. */
const KEY_MAX = 250;
/** Bytes of a part of an artifact's path: file systems end at 255. */
const PART_BYTES_MAX = 200;
const PARAM_MAX = 6_000;
const TAG_MAX = 8_000;
const HASH_CHARS = 12;

/** Every `_x` of the text would read as one of ours. */
const KEY_FOREIGN = /_(?=x)|[^\p{L}\p{N}_\-.: ]/gu;
/**
 * In paths no colon (Windows), and `%` least of all: the server decodes twice, so that even a rightly
 * encoded `%41` ends as `A`.
 */
const PATH_FOREIGN = /_(?=x)|[^\p{L}\p{N}_\-. ]/gu;

/**
 * A key for params, metrics and tags: foreign characters become `_x25_` (`%`, by code point), a part of a
 * path that is empty becomes `_x_`, of `.` and `..` the first dot is written so. One that is longer than
 * 250 characters then is cut and ends in a hash: it alone cannot be read back.
 */
export function toMlflowKey(name: string): string {
  const key = name
    .split("/")
    .map((part) => escapePart(part, KEY_FOREIGN))
    .join("/");
  return cut(key, KEY_MAX, `-${hashOf(name)}`);
}

/** The path of an artifact below its run, in the same alphabet without colons; long parts are cut. */
export function toArtifactPath(path: string): string {
  const parts = path.split("/").map((part) => shortenPart(escapePart(part, PATH_FOREIGN)));
  return parts.join("/");
}

/** The name behind a key or a path of ours. */
export function fromMlflowName(key: string): string {
  return key.replace(/_x([0-9a-f]*)_/g, (whole, hex: string) => {
    if (hex === "") return "";
    const code = Number.parseInt(hex, 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}

/** A param's value, cut to what MLflow keeps; a longer one says so, and how it can be told from others. */
export function toParamValue(value: string): string {
  return cutText(value, PARAM_MAX);
}

/** A tag's value; see {@link toParamValue}. */
export function toTagValue(value: string): string {
  return cutText(value, TAG_MAX);
}

function cutText(value: string, max: number): string {
  // Databases behind MLflow refuse these (Postgres) or keep what cannot be sent any more (SQLite).
  const text = value.toWellFormed().replaceAll("\0", "\u{FFFD}");
  if (text.length <= max) return text;
  const length = Array.from(text).length;
  return cut(text, max, ` … (${length} characters, sha256 ${hashOf(value)})`);
}

function escapePart(part: string, foreign: RegExp): string {
  if (part === "") return "_x_";
  const text = part.replace(foreign, escape);
  return text === "." || text.startsWith("..") ? `_x2e_${text.slice(1)}` : text;
}

function escape(character: string): string {
  return `_x${(character.codePointAt(0) ?? 0).toString(16)}_`;
}

/** Cuts by code points, so that nothing is half a character. */
function cut(text: string, max: number, ending: string): string {
  if (text.length <= max) return text;
  const characters = Array.from(text);
  if (characters.length <= max) return text;
  return characters.slice(0, max - ending.length).join("") + ending;
}

function shortenPart(part: string): string {
  if (Buffer.byteLength(part) <= PART_BYTES_MAX) return part;
  const extension = /\.[A-Za-z0-9]{1,10}$/.exec(part)?.[0] ?? "";
  const ending = `-${hashOf(part)}${extension}`;
  let kept = "";
  for (const character of part) {
    if (Buffer.byteLength(kept + character + ending) > PART_BYTES_MAX) break;
    kept += character;
  }
  return kept + ending;
}

function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, HASH_CHARS);
}
