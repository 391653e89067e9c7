/** A ref as `git ls-remote` tells it. */
export interface RemoteRef {
  /** `HEAD`, `refs/heads/main`, `refs/tags/v1`. */
  readonly name: string;
  /** The commit; of an annotated tag the one it points to. */
  readonly commit: string;
}

const LINE = /^([0-9a-f]{40}|[0-9a-f]{64})\t(\S+)$/;
const PEELED = "^{}";

/** Reads what `git ls-remote` printed; lines that are none are left out. */
export function parseRemoteRefs(text: string): RemoteRef[] {
  const refs = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, commit, name] = LINE.exec(line) ?? [];
    if (commit === undefined || name === undefined) continue;
    // The peeled line of an annotated tag follows the tag's own and replaces it.
    refs.set(name.endsWith(PEELED) ? name.slice(0, -PEELED.length) : name, commit);
  }
  return [...refs].map(([name, commit]) => ({ name, commit }));
}

/** What a ref comes to, as far as the names of the remote tell. */
export type RefDecision =
  | { readonly kind: "found"; readonly commit: string; readonly name: string }
  /** A whole commit that no branch or tag ends at: it may be in the history. */
  | { readonly kind: "commit"; readonly commit: string }
  /** May be the beginning of a commit in the history. */
  | { readonly kind: "abbreviated"; readonly prefix: string }
  | { readonly kind: "ambiguous"; readonly commits: readonly string[] }
  | { readonly kind: "missing"; readonly nearest: readonly string[] };

const WHOLE_COMMIT = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/i;
const ABBREVIATED = /^[0-9a-f]{7,63}$/i;
const NEAREST_MAX = 3;

/**
 * Decides what a ref of the manifest means, in git's own order: a whole commit, a full ref name, a
 * tag, a branch, the beginning of a commit.
 */
export function decideRef(ref: string, refs: readonly RemoteRef[]): RefDecision {
  const byName = new Map(refs.map(({ name, commit }) => [name, commit]));
  if (WHOLE_COMMIT.test(ref)) {
    const commit = ref.toLowerCase();
    const tip = refs.find((candidate) => candidate.commit === commit);
    return tip === undefined
      ? { kind: "commit", commit }
      : { kind: "found", commit, name: tip.name };
  }
  for (const name of [ref, `refs/${ref}`, `refs/tags/${ref}`, `refs/heads/${ref}`]) {
    const commit = byName.get(name);
    if (commit !== undefined) return { kind: "found", commit, name };
  }
  if (!ABBREVIATED.test(ref)) return { kind: "missing", nearest: nearestNames(ref, refs) };
  const prefix = ref.toLowerCase();
  const tips = [...new Set(refs.map(({ commit }) => commit))].filter((commit) =>
    commit.startsWith(prefix),
  );
  if (tips.length > 1) return { kind: "ambiguous", commits: tips };
  const [commit] = tips;
  if (commit === undefined) return { kind: "abbreviated", prefix };
  return {
    kind: "found",
    commit,
    name: refs.find((candidate) => candidate.commit === commit)?.name ?? commit,
  };
}

/** Branches and tags whose names are nearest to what was asked for; none that is far off. */
export function nearestNames(ref: string, refs: readonly RemoteRef[]): string[] {
  const wanted = ref.toLowerCase();
  const names = [
    ...new Set(
      refs
        .filter(({ name }) => name !== "HEAD")
        .map(({ name }) => name.replace(/^refs\/(?:heads|tags)\//, "")),
    ),
  ];
  return names
    .map((name) => ({ name, distance: distanceOf(wanted, name.toLowerCase()) }))
    .filter(({ name, distance }) => distance <= Math.max(2, Math.ceil(name.length / 2)))
    .toSorted((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1))
    .slice(0, NEAREST_MAX)
    .map(({ name }) => name);
}

/** Letters to change, add or leave out to make one text of the other. */
function distanceOf(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const same = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(same, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
