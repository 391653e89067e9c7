/** What the fleet is made of, and what it needs of others. */
import type { BreakerPolicy, Demand, FleetPolicy } from "@holdfast/fleet";
import type { MachineProvider } from "@holdfast/providers";
import type { Transaction } from "../platform/db.ts";

/** Environment of a pool's machines, or what is wrong with the files that it comes from. */
export type PoolEnv =
  | { readonly kind: "ok"; readonly env: Readonly<Record<string, string>> }
  | { readonly kind: "invalid"; readonly problem: string };

/** A pool beside its policy, which is among those of {@link FleetSettings.policy}. */
export interface FleetPool {
  readonly name: string;
  readonly provider: MachineProvider;
  /** What its agents are given beside where to connect; read when a machine is asked for. */
  readonly env: () => Promise<PoolEnv>;
  /** How the health server of its machines is asked; null: it is not. */
  readonly health: { readonly port: number; readonly token: () => Promise<string | null> } | null;
}

/** Settings of the fleet. */
export interface FleetSettings {
  /** Tells this installation's machines from another one's; in their names and labels. */
  readonly installation: string;
  readonly policy: FleetPolicy;
  readonly pools: readonly FleetPool[];
  /** Of the settings; levers go before it. */
  readonly breaker: BreakerPolicy;
  /** Where agents find the control plane. */
  readonly publicUrl: () => string;
}

/** What the fleet needs of other features; the composition root fills it. */
export interface FleetPorts {
  readonly demand: () => Promise<Demand>;
  /** No new jobs for a machine's instances, or jobs again. */
  readonly cordon: (tx: Transaction, machineId: string, isCordoned: boolean) => Promise<void>;
  /** A one-time token for a machine of this name; null while none is needed. */
  readonly enrol: (machineName: string) => Promise<string | null>;
  /**
   * Asks a health server, for some seconds at most; null when it answers, else why not, in words. Rejects
   * only when aborted.
   */
  readonly ping: (url: string, token: string | null, signal: AbortSignal) => Promise<string | null>;
}

/** What whoever starts the control plane says of its fleet; without one there are only others' machines. */
export interface FleetPlan {
  readonly policy: Pick<FleetPolicy, "pools"> & Partial<FleetPolicy>;
  /** Makes the pools' providers; their machines are labelled with the installation. */
  readonly makePools: (installation: string) => readonly FleetPool[];
}
