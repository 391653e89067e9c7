/** What a fleet is decided from, and what may be decided. Instants are epoch ms. */
import type { Lifespan, MachineEnd } from "../lifespan.ts";
import type { MachineOffer, ProvidedMachine, ProviderKind } from "../provider/model.ts";

/**
 * A machine's life in the fleet.
 *
 * `asked`: written down, and its provider is asked for it; whether it was made may not be known.
 * `starting`: it exists. `ready`: it was healthy. `draining`: no new jobs, its running ones are waited
 * for. `ending`: its provider is told to end it. `ended`: it is gone.
 */
export const FLEET_MACHINE_STATES = [
  "asked",
  "starting",
  "ready",
  "draining",
  "ending",
  "ended",
] as const;
/** One of {@link FLEET_MACHINE_STATES}. */
export type FleetMachineState = (typeof FLEET_MACHINE_STATES)[number];

/** Which state may follow which; anything else is a bug. */
export const FLEET_TRANSITIONS: Readonly<Record<FleetMachineState, readonly FleetMachineState[]>> =
  {
    asked: ["starting", "ending", "ended"],
    starting: ["ready", "ending", "ended"],
    ready: ["draining", "ending", "ended"],
    draining: ["ready", "ending", "ended"],
    ending: ["ended"],
    ended: [],
  };

/** A machine as the fleet has it written down. */
export interface FleetMachine {
  readonly id: string;
  /** Used once, ever: its provider and its agent know it by this. */
  readonly name: string;
  readonly pool: string;
  readonly provider: ProviderKind;
  readonly state: FleetMachineState;
  /** The provider's own word for it; null until that is known. */
  readonly ref: string | null;
  /** What it was asked for as, or will be next. */
  readonly offer: MachineOffer | null;
  /** Its place among the pool's offers: those before it could not be had. */
  readonly offerIndex: number;
  /** US dollars an hour; null when nobody knows. */
  readonly pricePerHour: number | null;
  readonly askedAt: number;
  /** How often its provider was asked. */
  readonly askedCount: number;
  /** The provider was asked and has not answered: until then it may still be making it. */
  readonly unsureUntil: number | null;
  readonly nextAskAt: number;
  /** It exists since. */
  readonly createdAt: number | null;
  readonly healthyAt: number | null;
  readonly drainingSince: number | null;
  readonly end: (MachineEnd & { readonly reason: string }) | null;
  /** When its provider was last told to end it. */
  readonly terminatedAt: number | null;
}

/** What is known of a machine beside what its provider says. */
export interface MachineSigns {
  /** Of its agent; null: it never registered. */
  readonly heartbeatAt: number | null;
  /** Its agent said that it is going, and nobody had asked for it. */
  readonly hasSignedOff: boolean;
  /** The last sign that its start goes on: registered, a step, a report. */
  readonly progressAt: number | null;
  /** An instance of it takes work. */
  readonly isHealthy: boolean;
  /** It could work, and is given none: cordoned by a person, or in quarantine. */
  readonly isSetAside: boolean;
  /** Why it cannot work, by its own report; null when it says nothing of the kind. */
  readonly fault: { readonly reason: string; readonly since: number } | null;
  /** Since when no instance of it works; null while one does. */
  readonly unwellSince: number | null;
  /** Why its health endpoint does not answer; null when it does, or is not asked. */
  readonly silence: { readonly reason: string; readonly since: number } | null;
  /** Jobs that it holds. */
  readonly jobCount: number;
  /** Without a job since; null while it has one. */
  readonly idleSince: number | null;
}

/** Nothing is known of it. */
export const NO_SIGNS: MachineSigns = {
  heartbeatAt: null,
  hasSignedOff: false,
  progressAt: null,
  isHealthy: false,
  isSetAside: false,
  fault: null,
  unwellSince: null,
  silence: null,
  jobCount: 0,
  idleSince: null,
};

/** What a pool's provider answered when it was asked for its machines. */
export interface PoolListing {
  /** When the question was put: what was made after it need not be in the answer. */
  readonly askedAt: number;
  readonly machines: readonly ProvidedMachine[];
  readonly byRef: ReadonlyMap<string, ProvidedMachine>;
  readonly byName: ReadonlyMap<string, ProvidedMachine>;
}

/** A provider's answer, to be looked things up in. */
export function toListing(askedAt: number, machines: readonly ProvidedMachine[]): PoolListing {
  return {
    askedAt,
    machines,
    byRef: new Map(machines.map((one) => [one.ref, one])),
    // Of two of one name the first.
    byName: new Map(machines.toReversed().map((one) => [one.name, one])),
  };
}

/** How a pool is kept. Times in ms. */
export interface PoolPolicy {
  readonly name: string;
  readonly provider: ProviderKind;
  readonly min: number;
  readonly max: number;
  readonly instancesPerMachine: number;
  /** Where the provider does not tell; US dollars an hour. */
  readonly pricePerHour: number | null;
  readonly startTimeoutMs: number;
  readonly progressTimeoutMs: number;
  readonly offerCount: number;
}

/** How the fleet is kept. Times in ms. */
export interface FleetPolicy {
  readonly pools: readonly PoolPolicy[];
  /** Jobs should not wait for longer. */
  readonly targetWaitMs: number;
  /** A machine that is not needed is ended after so long without a job. */
  readonly coolDownMs: number;
  /** Machines started together while none has been healthy. */
  readonly startAtOnce: number;
  /** How many times as many may be on their way after a wave of them came up. */
  readonly growth: number;
  /** US dollars an hour, all machines together; null for none. */
  readonly budgetPerHour: number | null;
  /** A machine without a heartbeat for so long has failed (`GPU_IDLE_TIMEOUT_SEC`). */
  readonly heartbeatTimeoutMs: number;
  /** What a machine reports against itself, or a silent health endpoint, is borne for so long. */
  readonly faultGraceMs: number;
  /** A machine that was well, whose agent speaks, and none of whose instances works, is borne so long. */
  readonly unwellMs: number;
  /** A job is waited for so long when a machine is ended. */
  readonly drainTimeoutMs: number;
  /** A provider's list may not show a machine for so long after it was made. */
  readonly listLagMs: number;
  /** A provider is told again to end a machine after so long. */
  readonly terminateEveryMs: number;
  /** How often a provider is asked for one machine before that counts as its failure. */
  readonly askLimit: number;
}

/** Defaults of what `fleet.yaml` and the settings leave out. */
export const DEFAULT_FLEET_POLICY: Omit<FleetPolicy, "pools"> = {
  targetWaitMs: 120_000,
  coolDownMs: 600_000,
  startAtOnce: 1,
  growth: 2,
  budgetPerHour: null,
  heartbeatTimeoutMs: 300_000,
  faultGraceMs: 60_000,
  unwellMs: 600_000,
  drainTimeoutMs: 1_800_000,
  listLagMs: 30_000,
  terminateEveryMs: 30_000,
  askLimit: 3,
};

/** How many machines of which kind are well; see `sizing`. */
export interface Demand {
  /** Jobs that wait and may start now. */
  readonly waitingJobs: number;
  readonly runningJobs: number;
  /** What one job takes an instance, by what jobs took lately; null when none has run. */
  readonly jobMs: number | null;
  /** Age of the job that has waited longest; null when none waits. */
  readonly oldestWaitMs: number | null;
}

/** How a machine came to be counted, for the breaker. */
export function toLifespan(machine: FleetMachine): Lifespan | null {
  const { id, ref, createdAt, askedAt, healthyAt, end } = machine;
  // What was never made was never seen; that a provider failed to make it is its failure all the same.
  if (ref === null && createdAt === null && end?.cause !== "failed") return null;
  return {
    machineId: id,
    spawnedAt: createdAt ?? askedAt,
    healthyAt,
    end: end === null ? null : { at: end.at, cause: end.cause, kind: end.kind },
  };
}
