/** Texts longer than this are compared by their end, where file names differ. */
const MAX_COMPARED = 200;

/**
 * The values most like the wanted one, the best first: for "did you mean". Likeness is the share of
 * letter pairs in common, so a list of thousands costs little.
 */
export function mostSimilar(
  wanted: string,
  values: readonly unknown[],
  count: number,
): readonly unknown[] {
  if (values.length <= count) return values;
  const pairs = letterPairs(wanted);
  return values
    .map((value, index) => ({ value, index, score: likeness(pairs, letterPairs(String(value))) }))
    .sort((a, b) => b.score - a.score || a.index - b.index)
    .slice(0, count)
    .map(({ value }) => value);
}

function letterPairs(text: string): ReadonlySet<string> {
  const letters = text.slice(-MAX_COMPARED).toLowerCase().replaceAll("\\", "/");
  const pairs = new Set<string>();
  for (let i = 0; i + 1 < letters.length; i += 1) pairs.add(letters.slice(i, i + 2));
  return pairs;
}

function likeness(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  let common = 0;
  for (const pair of b) if (a.has(pair)) common += 1;
  return a.size + b.size === 0 ? 0 : (2 * common) / (a.size + b.size);
}
