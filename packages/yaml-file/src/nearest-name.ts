/** Names longer than this are not compared: nobody meant one of ours by them. */
const NAME_MAX = 64;

/**
 * The known name that was probably meant: the same one in other letters (`base_port` for
 * `basePort`), or the one with the fewest changes. Undefined when none is near.
 */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  if (name.length > NAME_MAX) return undefined;
  const wanted = plain(name);
  let best: { readonly name: string; readonly changes: number } | undefined;
  for (const candidate of known) {
    const changes = editDistance(wanted, plain(candidate));
    if (best === undefined || changes < best.changes) best = { name: candidate, changes };
  }
  // A third of the letters: `rev` is not `ref`'s neighbour by more than a typing error.
  return best !== undefined && best.changes <= Math.max(1, Math.floor(wanted.length / 3))
    ? best.name
    : undefined;
}

function plain(name: string): string {
  return name.replace(/[^A-Za-z0-9]/g, "").toLowerCase();
}

/** Insertions, removals and replacements of one letter between two texts (Levenshtein). */
export function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= to.length; j += 1) {
      const replaced = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[to.length]!;
}
