/** Texts longer than this are compared by their beginning. */
const COMPARED_MAX = 200;

/** A name with less in common than this was not meant. */
const LIKENESS_MIN = 0.3;

/**
 * The known names most like a wanted one, the best first, at most `count`: for "did you mean". Likeness
 * is the share of letter pairs in common: `RTX 4090` is near `NVIDIA GeForce RTX 4090`, which is not a
 * matter of a few changed letters.
 */
export function nearNames(
  wanted: string,
  known: readonly string[],
  count: number,
): readonly string[] {
  const pairs = letterPairs(wanted);
  return known
    .map((name) => ({ name, likeness: likeness(pairs, letterPairs(name)) }))
    .filter((one) => one.likeness >= LIKENESS_MIN)
    .sort((a, b) => b.likeness - a.likeness || (a.name < b.name ? -1 : 1))
    .slice(0, count)
    .map((one) => one.name);
}

function letterPairs(text: string): ReadonlySet<string> {
  const letters = text
    .slice(0, COMPARED_MAX)
    .toLowerCase()
    .replace(/[^a-z0-9]/g, "");
  const pairs = new Set<string>();
  for (let at = 0; at + 1 < letters.length; at += 1) pairs.add(letters.slice(at, at + 2));
  return pairs;
}

function likeness(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  if (a.size + b.size === 0) return 0;
  let common = 0;
  for (const pair of a) if (b.has(pair)) common += 1;
  return (2 * common) / (a.size + b.size);
}
