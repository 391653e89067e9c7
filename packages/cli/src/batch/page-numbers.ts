/** Most pages that a flag may name. */
const MAX_NAMED = 10_000;

/**
 * Page numbers of `3`, `3,7` or `3-9`, in order and each once; undefined for anything else. `before` are
 * those that were named already.
 */
export function parsePageNumbers(
  text: string,
  before: readonly number[] = [],
): readonly number[] | undefined {
  const pages = new Set(before);
  for (const part of text.split(",")) {
    const match = /^\s*(\d{1,7})(?:\s*-\s*(\d{1,7}))?\s*$/.exec(part);
    if (match?.[1] === undefined) return undefined;
    const first = Number(match[1]);
    const last = Number(match[2] ?? match[1]);
    if (first < 1 || last < first || last - first >= MAX_NAMED) return undefined;
    for (let page = first; page <= last; page += 1) pages.add(page);
    if (pages.size > MAX_NAMED) return undefined;
  }
  return [...pages].toSorted((a, b) => a - b);
}
