import type { ProvidedMachine } from "../provider/model.ts";
import type { PoolListing } from "./model.ts";

/**
 * Machines that have ended by themselves, are listed still, and are nobody's here: what they leave behind,
 * a disk or a place in the list, stays until their provider is told to end them. One whose row lives is
 * that row's; one whose agent is heard has not ended, whatever is listed.
 */
export function decideLeftOver(
  listing: PoolListing,
  /** References by name, null where that is not known yet, of machines that are written down and live. */
  known: ReadonlyMap<string, string | null>,
  /** Whether an agent of this name works here. */
  isServing: (name: string) => boolean,
): readonly ProvidedMachine[] {
  return listing.machines.filter(({ name, ref, state }) => {
    if (state !== "ended" || isServing(name)) return false;
    const own = known.get(name);
    // Of two of one name the row's is not touched.
    return own === undefined || (own !== null && own !== ref);
  });
}
