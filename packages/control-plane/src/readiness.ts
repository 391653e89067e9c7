import { HoldfastError } from "@holdfast/contract";
import type { BlobStore } from "./files/model.ts";
import { readEndedMachines } from "./fleet/store.ts";
import { HOLD_SETTING } from "./jobs/model.ts";
import { isPlaceable } from "./machines/eligibility.ts";
import type { MachinesService } from "./machines/service.ts";
import type { Db } from "./platform/db.ts";

/** What is looked at before a job could start. */
const READINESS_CHECKS = ["database", "store", "instance", "hold"] as const;

/** One thing that a job needs to start, and whether it is there. */
export interface ReadinessCheck {
  readonly name: (typeof READINESS_CHECKS)[number];
  readonly ok: boolean;
  readonly reason: string | null;
}

/** What readiness asks. */
export interface ReadinessDeps {
  readonly db: Db;
  readonly store: Pick<BlobStore, "probe">;
  readonly machines: Pick<MachinesService, "placedInstances">;
}

/**
 * Whether a job could start now: the database and the store answer, an instance that has told what it
 * has takes work, and no emergency stop holds everything.
 */
export async function checkReadiness(deps: ReadinessDeps): Promise<readonly ReadinessCheck[]> {
  return await Promise.all([
    check("database", async () => {
      await deps.db.query("select 1");
      return null;
    }),
    check("store", async () => {
      const probe = await deps.store.probe();
      return probe.kind === "ready" ? null : probe.reason;
    }),
    check("instance", async () => {
      const instances = await deps.machines.placedInstances();
      const able = instances.filter((one) => isPlaceable(one) && one.inventoryDigest !== null);
      const ended = await readEndedMachines(
        deps.db,
        able.map(({ machineId }) => machineId),
      );
      if (able.some(({ machineId }) => !ended.has(machineId))) return null;
      if (instances.length === 0) return "no instance is connected";
      const none = `none of ${instances.length} instances is healthy and takes work`;
      return able.length === 0 ? none : `${none}: machines have ended`;
    }),
    check("hold", async () => {
      const { rows } = await deps.db.query<{ value: unknown }>(
        "select value from settings where key = $1",
        [HOLD_SETTING],
      );
      const value = rows[0]?.value ?? null;
      return value === null || value === false ? null : "an emergency stop holds every job";
    }),
  ]);
}

/**
 * Checks that do not count, separated by commas: a load balancer must go on sending agents to a replica
 * that waits for the first of them, and operators to one that was stopped. Throws `invalid_request`.
 */
export function readExcludedChecks(text: string | undefined): ReadonlySet<ReadinessCheck["name"]> {
  const words = text === undefined || text === "" ? [] : text.split(",");
  return new Set(
    words.map((word) => {
      const known = READINESS_CHECKS.find((name) => name === word);
      if (known !== undefined) return known;
      throw new HoldfastError(
        "invalid_request",
        `exclude: there is no check "${word}"; they are ${READINESS_CHECKS.join(", ")}`,
        { details: { field: "querystring.exclude" } },
      );
    }),
  );
}

async function check(
  name: ReadinessCheck["name"],
  ask: () => Promise<string | null>,
): Promise<ReadinessCheck> {
  try {
    const reason = await ask();
    return { name, ok: reason === null, reason };
  } catch (error) {
    return { name, ok: false, reason: error instanceof Error ? error.message : String(error) };
  }
}
