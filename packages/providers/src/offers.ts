/** In which order machines of several kinds are asked for. Pure. */
import type { MachineOffer } from "@holdfast/fleet";

/** Whether machines that may be taken away at any time are asked for: not at all, before others, after. */
export const SPOT_ORDERS = ["never", "first", "last", "only"] as const;
/** One of {@link SPOT_ORDERS}. */
export type SpotOrder = (typeof SPOT_ORDERS)[number];

/** What a person has listed, the best first. Empty lists: whatever there is, anywhere. */
export interface OfferWishes {
  readonly gpuTypes: readonly string[];
  readonly zones: readonly string[];
  readonly spot: SpotOrder;
}

/**
 * Every offer once, in the order in which they are to be tried: the GPU type counts most, then the
 * zone, then whether it is spot. A machine of the wished type elsewhere is better than another type
 * here; within one zone the two prices of the same machine stand beside each other.
 */
export function offersOf({ gpuTypes, zones, spot }: OfferWishes): readonly MachineOffer[] {
  return anyOr(gpuTypes).flatMap((gpuType) =>
    anyOr(zones).flatMap((zone) => SPOTS[spot].map((isSpot) => ({ gpuType, zone, isSpot }))),
  );
}

const SPOTS: Readonly<Record<SpotOrder, readonly boolean[]>> = {
  never: [false],
  first: [true, false],
  last: [false, true],
  only: [true],
};

/** Named twice is tried once; nothing named is one offer for anything. */
function anyOr(names: readonly string[]): readonly (string | null)[] {
  return names.length === 0 ? [null] : [...new Set(names)];
}
