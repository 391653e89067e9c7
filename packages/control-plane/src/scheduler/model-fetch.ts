/** Which machine is to fetch what a requirement lacks. Pure. */
import { MAX_MODELS_WANTED, type WantedModel } from "@holdfast/contract";
import { missingNeeds } from "../machines/eligibility.ts";
import { modelKey, type MachineOffers, type Needs } from "../machines/model.ts";
import type { KnownInstance } from "../machines/servers.ts";

/** A machine that could serve a requirement, had it fetched these. */
export interface FetchCandidate {
  readonly machineId: string;
  readonly machineName: string;
  /** As its own offers name them. */
  readonly models: readonly WantedModel[];
}

/** How a fetch goes that a machine was asked for. */
export interface FetchState {
  /** Since it was asked, in ms; null: it was not. */
  readonly askedMs: number | null;
  /** What the machine says of it; null while it says nothing. */
  readonly told: "fetching" | "failed" | null;
  /** Why it failed. */
  readonly reason: string | null;
}

/** What is to be done about a requirement that lacks models. */
export type FetchDecision =
  /** Nobody offers all that is missing. */
  | { readonly kind: "none" }
  /** One more machine is to be asked. */
  | { readonly kind: "ask"; readonly candidate: FetchCandidate }
  /** A machine was asked, and there is hope. */
  | { readonly kind: "under_way"; readonly candidate: FetchCandidate }
  /** Everybody was asked, long ago or in vain: the job need not wait for it any more. */
  | { readonly kind: "given_up"; readonly reason: string | null };

/** A machine that says nothing of a fetch is believed to be at it for so long; then the next is asked. */
export const SILENT_MS = 10 * 60_000;
/** One that says that it fetches: large models take their time. */
export const FETCHING_MS = 60 * 60_000;

/** The machines that could serve the needs after a fetch: those with the most room first. */
export function findCandidates(
  needs: Needs,
  instances: readonly KnownInstance[],
  offers: readonly MachineOffers[],
): readonly FetchCandidate[] {
  const found: (FetchCandidate & { readonly roomBytes: number })[] = [];
  for (const { machineId, machineName, models: offered, diskFreeBytes } of offers) {
    const byKey = new Map(offered.map((one) => [modelKey(one.folder, one.name), one]));
    const own = instances.filter(({ instance }) => instance.machineId === machineId);
    const lacking = own
      .map(({ inventory }) => missingNeeds(inventory, needs))
      .filter(({ nodeClasses }) => nodeClasses.length === 0)
      .map(({ models }) => models.map((key) => byKey.get(key)))
      .filter((models) => models.length > 0 && models.length <= MAX_MODELS_WANTED);
    // All instances of a machine share its models; where they do not, the one that lacks least is meant.
    const [least] = lacking
      .flatMap((models) => (models.every((one) => one !== undefined) ? [models] : []))
      .sort((a, b) => a.length - b.length);
    if (least === undefined) continue;
    const neededBytes = least.reduce((sum, one) => sum + (one.sizeBytes ?? 0), 0);
    // What is not known is worth a try, after those of whom it is.
    const roomBytes = diskFreeBytes === null ? 0 : diskFreeBytes - neededBytes;
    if (roomBytes < 0) continue;
    const models = least.map(({ folder, name }) => ({ folder, name }));
    found.push({ machineId, machineName, models, roomBytes });
  }
  return found
    .sort((a, b) => b.roomBytes - a.roomBytes || (a.machineId < b.machineId ? -1 : 1))
    .map(({ machineId, machineName, models }) => ({ machineId, machineName, models }));
}

/**
 * Whom to ask: one machine, and another one only when nothing came of it. A fetch that a machine was
 * asked for and that nobody needs to wait for any more goes on all the same: it is tried again there.
 */
export function decideFetch(
  candidates: readonly FetchCandidate[],
  stateOf: (candidate: FetchCandidate) => FetchState,
): FetchDecision {
  let reason: string | null = null;
  let next: FetchCandidate | undefined;
  for (const candidate of candidates) {
    const state = stateOf(candidate);
    if (state.askedMs === null) {
      next ??= candidate;
    } else if (isHopeful({ ...state, askedMs: state.askedMs })) {
      return { kind: "under_way", candidate };
    } else {
      reason ??= state.reason;
    }
  }
  if (next !== undefined) return { kind: "ask", candidate: next };
  return candidates.length === 0 ? { kind: "none" } : { kind: "given_up", reason };
}

function isHopeful({ askedMs, told }: FetchState & { readonly askedMs: number }): boolean {
  switch (told) {
    case "failed":
      return false;
    case "fetching":
      return askedMs < FETCHING_MS;
    case null:
      return askedMs < SILENT_MS;
  }
}

/** The state of a machine's fetch of several models: as bad as the worst, as old as the newest. */
export function stateOfAll(states: readonly FetchState[]): FetchState {
  const failed = states.find(({ told }) => told === "failed");
  const asked = states.map(({ askedMs }) => askedMs);
  return {
    askedMs: asked.includes(null) ? null : Math.min(...asked.map((ms) => ms ?? 0)),
    told: failed?.told ?? states.find(({ told }) => told === "fetching")?.told ?? null,
    reason: failed?.reason ?? null,
  };
}
