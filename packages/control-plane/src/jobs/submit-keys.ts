import { invariant } from "@holdfast/runtime";
import type { Queryable } from "../platform/db.ts";
import { claimKeys, readKeys, type IdempotencyClaim } from "./submit-store.ts";

/** Keys are unique per owner; ids of owners hold no line break. */
function nameOf(claim: { readonly owner: string; readonly key: string }): string {
  return `${claim.owner}\n${claim.key}`;
}

/**
 * Takes the idempotency keys of submits that are written together. For each claim, in order: null
 * when the key is the claim's own now, or what was claimed under it before, in an earlier
 * transaction or earlier in this list.
 */
export async function takeKeys(
  tx: Queryable,
  claims: readonly IdempotencyClaim[],
): Promise<(IdempotencyClaim | null)[]> {
  if (claims.length === 0) return [];
  const holders = new Map<string, IdempotencyClaim>();
  for (const claim of claims) {
    if (!holders.has(nameOf(claim))) holders.set(nameOf(claim), claim);
  }
  const taken = new Set((await claimKeys(tx, [...holders.values()])).map(nameOf));
  const used = [...holders.values()].filter((claim) => !taken.has(nameOf(claim)));
  if (used.length > 0) {
    for (const stored of await readKeys(tx, used)) holders.set(nameOf(stored), stored);
  }
  return claims.map((claim) => {
    const holder = holders.get(nameOf(claim));
    invariant(
      holder !== undefined && (taken.has(nameOf(claim)) || holder !== claim),
      "a key that was not free is stored",
    );
    return holder === claim ? null : holder;
  });
}
