/** What the fleet remembers of a machine: when it was started, when it was well, how it ended. */

/** How a machine failed. What ended on purpose is no failure. */
export const FAILURE_KINDS = [
  /** It was never healthy within its time for a start. */
  "no_start",
  /** Nothing was heard of it any more. */
  "no_heartbeat",
  /** Its provider says that it ended, and nobody here had asked for it. */
  "crash",
  /** It reported that it cannot work: a lost card, a broken installation. */
  "fault_report",
  /** The provider could not start it, for another reason than that it has none. */
  "provider_error",
] as const;
/** One of {@link FAILURE_KINDS}. */
export type FailureKind = (typeof FAILURE_KINDS)[number];

/** How a machine ended. */
export interface MachineEnd {
  /** Epoch ms. */
  readonly at: number;
  readonly cause: "failed" | "intended";
  /** Of a failure, what kind it was; null where that is not known. */
  readonly kind: FailureKind | null;
}

/** One machine from its start to its end. Instants are epoch ms. */
export interface Lifespan {
  readonly machineId: string;
  readonly spawnedAt: number;
  /** When it was healthy for the first time. */
  readonly healthyAt: number | null;
  /** Null while it lives. */
  readonly end: MachineEnd | null;
}
