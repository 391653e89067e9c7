import { invariant } from "@holdfast/runtime";
import type { Needs } from "../machines/model.ts";
import type { Queryable } from "../platform/db.ts";
import { sha256 } from "./submit-preparation.ts";
import { insertRequirements, readRequirementIds } from "./submit-store.ts";

/** Equal needs have equal hashes: the order of their fields is that of `graphNeeds`. */
export function requirementHash(needs: Needs): string {
  return sha256(JSON.stringify({ nodeClasses: needs.nodeClasses, models: needs.models }));
}

/** Times that a row which was removed between two statements is made anew. */
const TRIES = 3;

/**
 * The requirement of these needs, stored if it is not there yet; locked against removal until the
 * transaction ends.
 */
export async function ensureRequirement(tx: Queryable, needs: Needs): Promise<number> {
  const hash = requirementHash(needs);
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const known = await readRequirementIds(tx, [hash]);
    const id = known.get(hash);
    if (id !== undefined) return id;
    await insertRequirements(tx, [{ hash, needs }]);
  }
  invariant(false, "a requirement that was just stored is there");
}
