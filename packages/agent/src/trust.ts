/**
 * The trust window of a lease (STYLE §5): a holder believes its last renewal until
 * `renewalStarted + ttl - margin`, measured monotonically from before the call was sent. It ends
 * before the lease does, so that the holder has stopped when somebody else may begin.
 */
export interface TrustWindow {
  readonly ttlMs: number;
  readonly trustedUntil: number;
}

/** The window that a lease brings, or that a renewal gives. A late answer never shortens it. */
export function extendTrust(
  window: TrustWindow | undefined,
  ttlMs: number,
  callStartedAt: number,
  marginMs: number,
): TrustWindow {
  // A margin may take half of a short lease at most, or it could never be used.
  const trustedUntil = callStartedAt + ttlMs - Math.min(marginMs, ttlMs / 2);
  return { ttlMs, trustedUntil: Math.max(window?.trustedUntil ?? -Infinity, trustedUntil) };
}

/** Whether the holder must stop now. */
export function hasLostTrust(window: TrustWindow, now: number): boolean {
  return now >= window.trustedUntil;
}
