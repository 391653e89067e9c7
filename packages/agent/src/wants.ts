/** What decides how many more leases an instance takes. */
export interface WantsFacts {
  readonly isHealthy: boolean;
  /** It answers now, and no check of it is due. */
  readonly isReady: boolean;
  readonly isDraining: boolean;
  /** Ended with a failure last: nothing is staged until something succeeds. */
  readonly hasJustFailed: boolean;
  /** An attempt needs the instance for itself, to free its memory. */
  readonly isReserved: boolean;
  /** Attempts that ComfyUI has, or is about to have. */
  readonly occupied: number;
  /** Attempts whose outputs are still on their way. */
  readonly collecting: number;
  readonly spoolHasRoom: boolean;
  /** How long the last prompts ran, at most {@link RUNS_REMEMBERED}, in ms. */
  readonly recentRunsMs: readonly number[];
  /** For how long the prompt that runs has run; with none, what is staged has waited. 0 when idle. */
  readonly stillMs: number;
}

/** The limits of {@link decideWants}. */
export interface WantsLimits {
  readonly slotsPerInstance: number;
  readonly slotsMax: number;
  readonly stagedAheadMs: number;
  readonly collectingPerInstance: number;
}

/** Runs that a depth is decided by: one long one among them, and nothing more is staged. */
export const RUNS_REMEMBERED = 8;

/** How many leases an instance takes now: 0 whenever it could not run them at once. */
export function decideWants(facts: WantsFacts, limits: WantsLimits): number {
  if (!facts.isHealthy || !facts.isReady || facts.isDraining || facts.isReserved) return 0;
  if (!facts.spoolHasRoom || facts.collecting >= limits.collectingPerInstance) return 0;
  const slots = facts.hasJustFailed ? 1 : decideSlots(facts, limits);
  const free = slots - facts.occupied;
  // Deep queues are filled up in steps: a claim for several costs little more than for one.
  const isWorthAsking = slots <= limits.slotsPerInstance || free >= slots / 2;
  return isWorthAsking ? Math.max(0, free) : 0;
}

/**
 * How many prompts of ours ComfyUI's queue may hold. One running and one staged leave no gap while a
 * prompt takes longer than the way of the next one to it. Prompts shorter than that would leave the
 * instance waiting, so as many are staged as run in `stagedAheadMs`; and only while every recent one
 * was that short, for what is staged behind a long one could run elsewhere.
 */
export function decideSlots(
  { recentRunsMs, stillMs }: Pick<WantsFacts, "recentRunsMs" | "stillMs">,
  limits: Pick<WantsLimits, "slotsPerInstance" | "slotsMax" | "stagedAheadMs">,
): number {
  if (recentRunsMs.length < RUNS_REMEMBERED) return limits.slotsPerInstance;
  const longestMs = Math.max(1, stillMs, ...recentRunsMs);
  const slots = 1 + Math.floor(limits.stagedAheadMs / longestMs);
  return Math.min(limits.slotsMax, Math.max(limits.slotsPerInstance, slots));
}
