/**
 * In which folder a release is made. The same inputs have the same id, so a release that serves and was
 * damaged would be put right in its own folder, under the processes that run from it: it is made anew
 * beside that one instead (`ID-r2`), tried like any other, and takes its place.
 */
import type { FindUsed } from "./clean-releases.ts";
import type { ReleaseEntry, Releases } from "./releases.ts";

/** Where a release is to be, and what may be done there. */
export interface ReleaseTarget {
  readonly id: string;
  /** Something may run from it: nothing of it is changed but what is written down about it. */
  readonly isInUse: boolean;
  /** Serves now, and is damaged: whatever was before it stays the way back. Null: nothing like it. */
  readonly replaces: { readonly id: string; readonly damage: string } | null;
}

/** What is asked while one is chosen. */
export interface TargetFacts {
  readonly releases: Pick<Releases, "folder" | "list">;
  readonly findUsed: FindUsed;
  /** What of a complete release is not as it was made; null when all is. */
  readonly damageOf: (id: string) => Promise<string | null>;
}

/** Chooses the folder for the release that some inputs come to. */
export async function chooseTarget(base: string, facts: TargetFacts): Promise<ReleaseTarget> {
  const { releases, findUsed } = facts;
  const all = (await releases.list()).filter(({ id }) => numberOf(base, id) !== undefined);
  if (all.length === 0) return { id: base, isInUse: false, replaces: null };
  const used = await findUsed(all.map(({ id }) => releases.folder(id)));
  const isInUse = ({ id, isCurrent }: ReleaseEntry): boolean =>
    isCurrent || used.has(releases.folder(id));
  let replaces: ReleaseTarget["replaces"] = null;
  // What serves comes first: while it is sound there is nothing to do.
  for (const entry of all.toSorted((a, b) => Number(b.isCurrent) - Number(a.isCurrent))) {
    const damage = entry.lock === null ? "it is not complete" : await facts.damageOf(entry.id);
    if (damage === null) return { id: entry.id, isInUse: isInUse(entry), replaces };
    if (entry.isCurrent) replaces = { id: entry.id, damage };
  }
  // One that nothing runs from is gone on with, or put right where it is.
  const free = all.find((entry) => !isInUse(entry));
  if (free !== undefined) return { id: free.id, isInUse: false, replaces };
  const last = Math.max(...all.map(({ id }) => numberOf(base, id) ?? 1));
  return { id: `${base}-r${last + 1}`, isInUse: false, replaces };
}

/** Whether two releases are of the same inputs: one was made to take the place of the other. */
export function hasSameInputs(one: string, other: string): boolean {
  const baseOf = (id: string): string => id.replace(/-r[1-9]\d*$/, "");
  return baseOf(one) === baseOf(other);
}

/** 1 for the id itself, 2 for `ID-r2`; undefined for one of other inputs. */
function numberOf(base: string, id: string): number | undefined {
  if (id === base) return 1;
  const rest = id.startsWith(`${base}-r`) ? id.slice(base.length + 2) : "";
  return /^[1-9]\d*$/.test(rest) ? Number(rest) : undefined;
}
