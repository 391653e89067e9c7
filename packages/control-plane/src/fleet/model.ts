/**
 * The fleet as the control plane keeps it.
 *
 * I1. Only the leader asks providers for machines and ends them; every write of it names its epoch, and
 *     one that has lost its lead writes nothing more.
 * I2. A machine is written down before its provider is asked for it, under a name that is used once.
 * I3. What people set while it runs is recorded with who and why, and can be undone.
 */
import type { PoolBlockKind } from "@holdfast/contract";
import type { BreakerPolicy, FleetMachine, PoolDecision } from "@holdfast/fleet";

/** A machine with what only the database knows of it. */
export interface StoredMachine extends FleetMachine {
  /** Its agent, once that has registered: `mch_…`. */
  readonly machineId: string | null;
  /** Where its ports can be reached from here. */
  readonly address: string | null;
  /** Who started it although machines were not to be started. */
  readonly forcedBy: string | null;
  /** Why its provider did not make it, the last time. */
  readonly trouble: string | null;
  /** A person wants it ended; null when nobody does. The leader reads it and never writes it. */
  readonly endRequest: EndRequest | null;
}

/** Somebody's word that a machine is to end. */
export interface EndRequest {
  readonly by: string;
  readonly reason: string;
  /** Its jobs are not waited for; they go back free. */
  readonly now: boolean;
}

/** What can be set while the fleet runs. */
export const LEVER_KINDS = ["threshold", "window", "minimum", "clear", "force", "pause"] as const;
/** One of {@link LEVER_KINDS}. */
export type LeverKind = (typeof LEVER_KINDS)[number];

/** Something that somebody has set. */
export interface Lever {
  readonly id: string;
  readonly kind: LeverKind;
  /**
   * `threshold`: a share; `window`: minutes; `minimum`: machines; `clear`: failures before this instant
   * (epoch ms); `force`: `{pool, count}`; `pause`: true.
   */
  readonly value: unknown;
  readonly reason: string;
  readonly madeBy: string;
  readonly madeAt: number;
  readonly undoneBy: string | null;
  readonly undoneAt: number | null;
  /** Null also where none was given. */
  readonly undoneReason: string | null;
}

/** What the levers in force come to. */
export interface LeversInForce {
  readonly breaker: BreakerPolicy;
  /** Nothing is started or ended while there is one; the newest first, each with its own reason. */
  readonly pauses: readonly Lever[];
  /** The lever behind each part of the policy; those of the settings are not named. */
  readonly levers: readonly Lever[];
}

/** A pool as the leader has left it. */
export interface StoredPool {
  readonly name: string;
  /** Epoch ms until which it is asked for nothing; null when it may be asked. */
  readonly blockedUntil: number | null;
  readonly reason: string | null;
  /** What the reason is; null when it may be asked. */
  readonly blockKind: PoolBlockKind | null;
  readonly failures: number;
  readonly decision: PoolDecision | null;
}

/** Thrown where a leader finds that it leads no more: whatever it was about to write is not written. */
export class LeadLost extends Error {
  override readonly name = "LeadLost";

  constructor() {
    super("another replica leads the fleet");
  }
}
