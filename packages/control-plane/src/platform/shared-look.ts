import type { Clock } from "@holdfast/runtime";

/** How much longer than it took to get it a finding is kept, so that looks cost a tenth of the time at most. */
const KEPT_TIMES = 10;

/**
 * A dear look that many ask for: whoever asks while one is under way gets what that one finds, and so
 * does whoever asks within ten times as long as it took, `maxMs` at most. What costs nothing is looked at
 * anew nearly every time; what costs much is up to `maxMs` old. A look that fails is not kept.
 */
export function createSharedLook<T>(
  look: () => Promise<T>,
  options: { readonly clock: Clock; readonly maxMs: number },
): () => Promise<T> {
  const { clock, maxMs } = options;
  let shared: { readonly found: Promise<T>; until: number } | undefined;
  return () => {
    const begun = clock.elapsed();
    if (shared !== undefined && begun < shared.until) return shared.found;
    const own = { found: look(), until: Number.POSITIVE_INFINITY };
    shared = own;
    own.found.then(
      () => {
        const now = clock.elapsed();
        own.until = now + Math.min(maxMs, (now - begun) * KEPT_TIMES);
      },
      () => {
        if (shared === own) shared = undefined;
      },
    );
    return own.found;
  };
}
