import type { EventType, InstanceReport } from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";
import type { MachinesService } from "../machines/service.ts";
import type { Db } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { appendEvents } from "../platform/outbox.ts";
import { fleetEvent } from "../machines/fleet-events.ts";
import type { KnownInstance } from "./heartbeat-store.ts";
import type { AgentSession } from "./model.ts";

/** What writing reports is made of. */
export interface InstanceReportDeps {
  readonly db: Db;
  readonly ids: IdSource;
  readonly log: Log;
  readonly machines: MachinesService;
  /** Told after commit. */
  readonly onEvents: (written: readonly EventType[]) => void;
}

/**
 * Writes what instances say of themselves, where it differs from what is known. One that turns unhealthy
 * (a zombie, say: F26) is an event and an error in the log: an attached ComfyUI waits for a person.
 */
export async function writeInstanceReports(
  deps: InstanceReportDeps,
  agent: AgentSession,
  changed: readonly InstanceReport[],
  known: ReadonlyMap<string, KnownInstance>,
): Promise<void> {
  const { db, ids, log, machines } = deps;
  const { machineId } = agent;
  const turnsUnhealthy = (id: string, state: string): boolean =>
    state === "unhealthy" && known.get(id)?.state !== "unhealthy";
  const isNews = changed.some(({ instanceId, state }) => turnsUnhealthy(instanceId, state));
  const rows = isNews
    ? await db.transaction(async (tx) => {
        const reported = await machines.report(tx, agent, changed);
        const sick = reported.filter(({ id, state }) => turnsUnhealthy(id, state));
        await appendEvents(
          tx,
          sick.map(({ id, name, reason }) =>
            fleetEvent(ids, "instance.unhealthy", { instanceId: id, machineId, name, reason }),
          ),
        );
        return reported;
      })
    : await machines.report(db, agent, changed);
  if (isNews) deps.onEvents(["instance.unhealthy"]);
  for (const { id, state, reason } of rows) {
    const facts = { machineId, instanceId: id, state, reason };
    if (turnsUnhealthy(id, state)) {
      log.error(facts, "instance is unhealthy, somebody should look");
    } else {
      log.info(facts, "instance reported");
    }
  }
}
