/**
 * Text from a ComfyUI, made fit to be stored: PostgreSQL takes no NUL and no half of a surrogate
 * pair, in texts as little as in JSON, and one such character would make a whole report be refused.
 */

const CUT_MARK = "\n[… cut …]\n";
/** Values nested deeper than this are left out: nobody reads them, and walking them costs stack. */
const DEPTH_MAX = 64;

/** The text without NUL, as well-formed UTF-16; of the same length. */
export function cleanText(text: string): string {
  return text.replaceAll("\0", "\uFFFD").toWellFormed();
}

/** The beginning of the text, clean, at most `limit` UTF-16 units and never half a character. */
export function cutText(text: string, limit: number): string {
  const clean = cleanText(text);
  if (clean.length <= limit) return clean;
  return clean.slice(0, isInsidePair(clean, limit) ? limit - 1 : limit);
}

/** The end of the text, as {@link cutText} gives its beginning. */
export function cutToEnd(text: string, limit: number): string {
  const clean = cleanText(text);
  if (clean.length <= limit) return clean;
  const start = clean.length - limit;
  return clean.slice(isInsidePair(clean, start) ? start + 1 : start);
}

/** The text with its middle left out where it is too long: more of its beginning than of its end. */
export function cutMiddle(text: string, limit: number): string {
  if (text.length <= limit) return cleanText(text);
  const head = Math.floor((limit - CUT_MARK.length) * 0.75);
  return cutText(text, head) + CUT_MARK + cutToEnd(text, limit - CUT_MARK.length - head);
}

/** A JSON value of which every text and key is clean. */
export function cleanDeep(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return cleanText(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= DEPTH_MAX) return CUT_MARK.trim();
  if (Array.isArray(value)) return value.map((item) => cleanDeep(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [cleanText(key), cleanDeep(item, depth + 1)]),
  );
}

function isInsidePair(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  // The text is well-formed: a low surrogate is the second half of a pair.
  return unit >= 0xdc00 && unit <= 0xdfff;
}
