/**
 * Fetches that may be over before anybody can see it: a machine offers a model no more as soon as it
 * has it, and its instances list it a little later. Meanwhile it would look as if nobody had the model
 * and nobody could fetch it.
 */
import { missingNeeds } from "../machines/eligibility.ts";
import type { Needs } from "../machines/model.ts";
import type { KnownInstance } from "../machines/servers.ts";
import type { FetchCandidate, FetchDecision, FetchState } from "./model-fetch.ts";

/** Instances list what was fetched within so long, or something else is wrong with it. */
export const ARRIVING_MS = 3 * 60_000;

/** Who was last seen to fetch what requirements lack; forgotten after {@link ARRIVING_MS}. */
export interface ArrivingFetches {
  /** The machine whose fetch may be over and not seen yet; undefined when there is none such. */
  find(look: {
    readonly requirementId: number;
    readonly needs: Needs;
    readonly now: number;
    readonly candidates: readonly FetchCandidate[];
    readonly instances: readonly KnownInstance[];
  }): FetchCandidate | undefined;
  /** What was decided by what machines tell now, and not by what was found here. */
  note(requirementId: number, decision: FetchDecision, now: number): void;
  /** Nobody lacks anything but these. */
  keepOnly(requirementIds: ReadonlySet<number>): void;
}

/** Makes {@link ArrivingFetches}. */
export function createArrivingFetches(): ArrivingFetches {
  const seen = new Map<number, { readonly candidate: FetchCandidate; readonly at: number }>();
  return {
    find({ requirementId, needs, now, candidates, instances }) {
      const known = seen.get(requirementId);
      if (known === undefined) return undefined;
      const { machineId } = known.candidate;
      // It offers all that is missing still: what it says of that is the newest there is.
      if (candidates.some((candidate) => candidate.machineId === machineId)) return undefined;
      const own = instances.filter(({ instance }) => instance.machineId === machineId);
      const isListed = own.some(({ inventory }) => {
        const { models, nodeClasses } = missingNeeds(inventory, needs);
        return models.length + nodeClasses.length === 0;
      });
      if (!isListed && now - known.at < ARRIVING_MS) return known.candidate;
      seen.delete(requirementId);
      return undefined;
    },
    note(requirementId, decision, now) {
      if (decision.kind === "ask" || decision.kind === "under_way") {
        seen.set(requirementId, { candidate: decision.candidate, at: now });
      } else {
        seen.delete(requirementId);
      }
    },
    keepOnly(requirementIds) {
      for (const id of seen.keys()) if (!requirementIds.has(id)) seen.delete(id);
    },
  };
}

/** {@link FetchDecision} of a fetch that may be over and not seen yet; undefined when it has failed. */
export function decideArriving(
  candidate: FetchCandidate,
  { told }: FetchState,
): FetchDecision | undefined {
  return told === "failed" ? undefined : { kind: "under_way", candidate };
}
