/** Puts the fleet together: the leader's rounds, and what people see and set. */
import { randomBytes } from "node:crypto";
import type { EventType } from "@holdfast/contract";
import { DEFAULT_FLEET_POLICY, type BreakerPolicy } from "@holdfast/fleet";
import type { Clock, IdSource, Random, Service } from "@holdfast/runtime";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import type { FleetPlan, FleetPorts, FleetSettings } from "./fleet-settings.ts";
import { readInstallation } from "./lever-store.ts";
import { createFleetLoops } from "./loop.ts";
import { createReconciler } from "./reconcile-service.ts";
import { createFleetService, type FleetService } from "./service.ts";

/** What the fleet is made of. */
export interface FleetDeps {
  readonly db: Db;
  readonly clock: Clock;
  readonly random: Random;
  readonly ids: IdSource;
  readonly log: Log;
  readonly plan: FleetPlan | undefined;
  readonly breaker: BreakerPolicy;
  readonly heartbeatTimeoutMs: number;
  readonly publicUrl: () => string;
  readonly ports: FleetPorts;
  readonly onEvents: (written: readonly EventType[]) => void;
}

/** The fleet of one replica. */
export interface Fleet {
  readonly service: FleetService;
  /** In the order in which they start. */
  readonly loops: readonly Service[];
  /** Lets go of the providers; machines live on. */
  close(): Promise<void>;
}

const INSTALLATION_BYTES = 3;

/** Makes the fleet; nothing is asked for before its loops are started. */
export async function createFleet(deps: FleetDeps): Promise<Fleet> {
  const { db, plan, heartbeatTimeoutMs, breaker } = deps;
  const fresh = randomBytes(INSTALLATION_BYTES).toString("hex");
  const { suffix: installation, was } = await readInstallation(db, fresh);
  if (was !== null) {
    deps.log.error(
      { was, installation },
      "this database was copied from another cluster: machines that were started before are not ended by this fleet; end them by hand unless the original still runs",
    );
  }
  const settings: FleetSettings = {
    installation,
    policy: { ...DEFAULT_FLEET_POLICY, pools: [], heartbeatTimeoutMs, ...plan?.policy },
    pools: plan?.makePools(installation) ?? [],
    breaker,
    publicUrl: deps.publicUrl,
  };
  const reconciler = createReconciler({ ...deps, settings });
  return {
    service: createFleetService({ ...deps, settings }),
    loops: createFleetLoops({ ...deps, holder: deps.ids.next("rpl"), reconciler }),
    async close() {
      for (const { provider } of settings.pools) await provider.close();
    },
  };
}
