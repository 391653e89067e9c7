import type { Lease } from "@holdfast/contract";
import type { WatchState } from "./watch-state.ts";

/** When a running prompt will have been without a sign for too long. Instants are monotonic ms. */
export interface StallInstants {
  /** The socket is made anew once on the way there, in case it is deaf (F8). */
  readonly refreshAt: number;
  readonly stallAt: number;
}

const NEVER: StallInstants = { refreshAt: Infinity, stallAt: Infinity };

/**
 * The limits that hold for a run: the shorter ones only where its models are in memory, and never for
 * one of which nobody saw the beginning.
 */
export function limitsOf(stall: Lease["stall"], isWarm: boolean): StallLimits {
  return isWarm ? (stall.warm ?? stall) : stall;
}

/** See the lease. */
export type StallLimits = NonNullable<Lease["stall"]["warm"]>;

/**
 * Decides when a prompt that shows no sign of progress counts as stalled. Only what runs can stall,
 * and only where signs could have been seen: without a socket silence says nothing, and the
 * execution limit alone ends the attempt. Never under `floorMs`, which outlasts F29.
 */
export function decideStall(state: WatchState, stall: StallLimits, floorMs: number): StallInstants {
  if (state.phase !== "running" || !state.isSocketUseful) return NEVER;
  const limitMs = Math.max(floorMs, state.hasProgressed ? stall.progressMs : stall.firstLoadMs);
  return {
    refreshAt: state.isRefreshed ? Infinity : state.lastSignAt + limitMs / 2,
    stallAt: state.lastSignAt + limitMs,
  };
}
