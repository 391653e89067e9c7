import type { Queryable } from "../platform/db.ts";
import type { InventoryIndex, Needs } from "../machines/model.ts";
import { canServe } from "../machines/eligibility.ts";
import { readActiveRequirements } from "./lease-store.ts";

/** Requirements with queued jobs that one replica looks at; more wait for the next look. */
const ACTIVE_LIMIT = 5_000;
/** Answers of `canServe` kept: inventories × requirements in use. */
const ANSWERS_KEPT = 200_000;

/** One requirement that has queued jobs. */
export interface ActiveRequirement {
  readonly id: number;
  readonly needs: Needs;
  readonly waitingReason: string | null;
}

/**
 * The requirements that have queued jobs, as far as this replica knows: refreshed by a loop, added
 * to at a submit here, and dropped when a claim finds nothing under them. A hint, never the truth.
 */
export interface ActiveRequirements {
  refresh(db: Queryable): Promise<readonly ActiveRequirement[]>;
  /** Adds requirements that were queued just now; those with unknown needs wait for the refresh. */
  note(requirements: readonly { readonly id: number; readonly needs: Needs }[]): void;
  all(): readonly ActiveRequirement[];
  has(requirementId: number): boolean;
  /** The ids an inventory can serve. */
  servable(inventory: InventoryIndex): ReadonlySet<number>;
  /** Whether an inventory can serve one of them. */
  canServe(inventory: InventoryIndex, requirementId: number): boolean;
  /** Grows with every note; take it before a look that may end in a drop. */
  version(): number;
  /** A look begun at `version` found nothing queued under these; what was noted since stays. */
  drop(ids: readonly number[], version: number): void;
}

/** Makes {@link ActiveRequirements}. */
export function createActiveRequirements(): ActiveRequirements {
  let active = new Map<number, ActiveRequirement>();
  const notedAt = new Map<number, number>();
  let version = 0;
  /** Where the next look begins: with more than the limit in use each look takes the next part. */
  let afterId = 0;
  const answers = new Map<string, boolean>();
  const ask = (inventory: InventoryIndex, requirement: ActiveRequirement): boolean => {
    const key = `${inventory.digest}:${requirement.id}`;
    const known = answers.get(key);
    if (known !== undefined) return known;
    if (answers.size >= ANSWERS_KEPT) answers.clear();
    const answer = canServe(inventory, requirement.needs);
    answers.set(key, answer);
    return answer;
  };
  return {
    async refresh(db) {
      const asOf = version;
      const rows = await readActiveRequirements(db, ACTIVE_LIMIT, afterId);
      afterId = rows.length === ACTIVE_LIMIT ? (rows.at(-1)?.id ?? 0) : 0;
      const fresh = new Map(
        rows.map((row) => [
          row.id,
          { id: row.id, needs: row.needs as Needs, waitingReason: row.waitingReason },
        ]),
      );
      for (const [id, at] of notedAt) {
        const known = active.get(id);
        if (at <= asOf) notedAt.delete(id);
        else if (known !== undefined && !fresh.has(id)) fresh.set(id, known);
      }
      active = fresh;
      return [...active.values()];
    },
    note(requirements) {
      version += 1;
      for (const { id, needs } of requirements) {
        notedAt.set(id, version);
        if (!active.has(id)) active.set(id, { id, needs, waitingReason: null });
      }
    },
    all: () => [...active.values()],
    has: (id) => active.has(id),
    servable(inventory) {
      const ids = new Set<number>();
      for (const requirement of active.values()) {
        if (ask(inventory, requirement)) ids.add(requirement.id);
      }
      return ids;
    },
    canServe(inventory, requirementId) {
      const requirement = active.get(requirementId);
      return requirement !== undefined && ask(inventory, requirement);
    },
    version: () => version,
    drop(ids, asOf) {
      for (const id of ids) if ((notedAt.get(id) ?? 0) <= asOf) active.delete(id);
    },
  };
}
