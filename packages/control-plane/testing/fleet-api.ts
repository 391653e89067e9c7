/** The fleet's routes on a database of their own, without a leader: what is asked for stays written down. */
import {
  DEFAULT_BREAKER_POLICY,
  DEFAULT_FLEET_POLICY,
  type FleetPolicy,
  type PoolPolicy,
} from "@holdfast/fleet";
import type { MachineProvider } from "@holdfast/providers";
import { createIdSource } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { createTestDatabase, emptyTables } from "../../../test/support/test-database.ts";
import { addFleetRoutes } from "../src/fleet/routes.ts";
import { createFleetService } from "../src/fleet/service.ts";
import { buildHttpServer } from "../src/platform/http/server.ts";
import { SILENT_LOG } from "../src/platform/log.ts";
import { TEST_ACCESS } from "./test-access.ts";

const NOTHING = { kind: "ok", value: [] } as const;
/** A provider that is never asked: nobody leads. */
const IDLE_PROVIDER: MachineProvider = {
  kind: "runpod",
  offers: [{ gpuType: "A", zone: null, isSpot: false }],
  list: async () => NOTHING,
  create: () => Promise.reject(new Error("nobody leads, and a machine was asked for")),
  terminate: async () => ({ kind: "ok", value: null }),
  check: async () => NOTHING,
  close: async () => undefined,
};

function toPool(name: string): PoolPolicy {
  return {
    name,
    provider: "runpod",
    min: 0,
    max: 10,
    instancesPerMachine: 1,
    pricePerHour: 1.5,
    startTimeoutMs: 600_000,
    progressTimeoutMs: 300_000,
    offerCount: 1,
  };
}

/** An answer of a route. */
export interface FleetAnswer {
  readonly status: number;
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly body: any;
}

/** See the head of this file. */
export type FleetApi = Awaited<ReturnType<typeof startFleetApi>>;

/** Opens a database and adds the routes for these pools. */
export async function startFleetApi(
  poolNames: readonly string[] = ["gpu"],
  policy: Partial<FleetPolicy> = {},
) {
  const database = await createTestDatabase({ max: 4 });
  const { db } = database;
  const ids = createIdSource(systemClock, systemRandom);
  const checks: { readonly name: string; readonly ok: boolean; readonly reason: string | null }[] =
    [];
  const fleet = createFleetService({
    db,
    ids,
    random: systemRandom,
    log: SILENT_LOG,
    settings: {
      installation: "test01",
      policy: { ...DEFAULT_FLEET_POLICY, ...policy, pools: poolNames.map(toPool) },
      pools: poolNames.map((name) => ({
        name,
        provider: IDLE_PROVIDER,
        env: async () => ({ kind: "ok" as const, env: {} }),
        health: null,
      })),
      breaker: DEFAULT_BREAKER_POLICY,
      publicUrl: () => "http://127.0.0.1:8328",
    },
    ports: {
      demand: async () => ({
        waitingJobs: 3,
        runningJobs: 1,
        jobMs: 30_000,
        oldestWaitMs: 1_000.4,
      }),
    },
  });
  const server = buildHttpServer({
    log: SILENT_LOG,
    clock: systemClock,
    ids,
    bodyLimitBytes: 1_000_000,
  });
  const { app } = server;
  addFleetRoutes(app, {
    identify: (request, roles) => TEST_ACCESS.identify(request, roles),
    fleet,
    readiness: async () => checks,
  });
  await app.ready();

  return {
    db,
    checks,
    /** As `who` (`id/role`); an operator, unless said otherwise. */
    async call(
      method: "GET" | "POST" | "DELETE",
      path: string,
      {
        body,
        who = "key_ann/operator",
        key,
      }: { readonly body?: object; readonly who?: string; readonly key?: string } = {},
    ): Promise<FleetAnswer> {
      const answer = await app.inject({
        method,
        url: `/api/v1/fleet${path}`,
        headers: {
          "x-test-caller": who,
          ...(key !== undefined && { "idempotency-key": key }),
        },
        ...(body !== undefined && { payload: body }),
      });
      return { status: answer.statusCode, body: answer.json() };
    },
    /** Machines of the pool that failed so many minutes ago, or live. */
    async machines(endedMinutesAgo: readonly (number | null)[], provider = "runpod") {
      for (const [n, minutes] of endedMinutesAgo.entries()) {
        await db.query(
          `insert into fleet_machines (id, name, pool, provider, state, ref, offer_index,
             price_per_hour, asked_at, asked_count, created_at, ended_at, end_cause, end_kind, end_reason)
           values ($1, $2, 'gpu', $3, case when $4::float8 is null then 'starting' else 'ended' end,
             'pod', 0, 1.5, now() - interval '2 h', 1, now() - interval '2 h',
             now() - make_interval(secs => $4 * 60), case when $4 is not null then 'failed' end,
             case when $4 is not null then 'no_start' end, case when $4 is not null then 'why ' || $2 end)`,
          [ids.next("flm"), `hf-gpu-test01-${n}`, provider, minutes],
        );
      }
    },
    async reset() {
      checks.length = 0;
      await emptyTables(db, [
        "fleet_machines",
        "fleet_breaker",
        "fleet_pools",
        "fleet_levers",
        "fleet_leader",
      ]);
    },
    async close() {
      await server.close();
      await database.drop();
    },
  };
}
