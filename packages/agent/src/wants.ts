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
}

/** How many leases an instance takes now: 0 whenever it could not run them at once. */
export function decideWants(
  facts: WantsFacts,
  limits: { readonly slotsPerInstance: number; readonly collectingPerInstance: number },
): number {
  if (!facts.isHealthy || !facts.isReady || facts.isDraining || facts.isReserved) return 0;
  if (!facts.spoolHasRoom || facts.collecting >= limits.collectingPerInstance) return 0;
  const slots = facts.hasJustFailed ? 1 : limits.slotsPerInstance;
  return Math.max(0, slots - facts.occupied);
}
