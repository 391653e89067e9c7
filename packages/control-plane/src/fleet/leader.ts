/** What the leader of the fleet is made of. */
import type { EventType } from "@holdfast/contract";
import type { Clock, IdSource, Random } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import type { FleetPorts, FleetSettings } from "./fleet-settings.ts";

/** What the leader is made of. */
export interface ReconcileDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly ids: IdSource;
  readonly log: Log;
  readonly settings: FleetSettings;
  readonly ports: FleetPorts;
  /** In the place of the database's clock, for simulations. */
  readonly readNow?: () => Promise<number>;
  /** Told after commit. */
  readonly onEvents: (written: readonly EventType[]) => void;
}

/** A lead, as a round needs it. */
export interface Lead {
  readonly epoch: number;
  readonly isLeading: () => boolean;
}
