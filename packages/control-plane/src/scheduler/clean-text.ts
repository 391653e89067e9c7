/** How deep a value from an agent is looked into; evidence is flat, deeper levels are dropped. */
const MAX_DEPTH = 12;

/**
 * A value as Postgres can keep it: no NUL characters and no halves of surrogate pairs in any text,
 * which neither `text` nor `jsonb` takes. A report must never be refused for what ComfyUI's message
 * happened to hold: it would be sent again for ever.
 */
export function cleanText<T>(value: T, depth = 0): T {
  if (typeof value === "string") return value.replaceAll("\0", "").toWellFormed() as T;
  if (typeof value !== "object" || value === null) return value;
  if (depth >= MAX_DEPTH) return null as T;
  if (Array.isArray(value)) return value.map((item) => cleanText<unknown>(item, depth + 1)) as T;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      cleanText(key, depth + 1),
      cleanText<unknown>(item, depth + 1),
    ]),
  ) as T;
}
