/**
 * A leader of the fleet on a database of its own, before a cloud that is made up, in a time that the test
 * makes. Each leader can be killed at any statement or call: before it is done, or after.
 */
import {
  DEFAULT_BREAKER_POLICY,
  DEFAULT_FLEET_POLICY,
  type BreakerPolicy,
  type Demand,
  type FleetPolicy,
  type ProviderTrouble,
} from "@holdfast/fleet";
import type { MachineProvider } from "@holdfast/providers";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { createTestDatabase, emptyTables } from "../../../test/support/test-database.ts";
import { FakeCloud, type CloudScript } from "../../fleet/testing/fake-cloud.ts";
import { setMachineCordon } from "../src/machines/store.ts";
import { takeLead } from "../src/fleet/lead-store.ts";
import { LeadLost } from "../src/fleet/model.ts";
import { createReconciler, type Reconciler } from "../src/fleet/reconcile-service.ts";
import { toTimestamp, type Db, type Queryable, type Transaction } from "../src/platform/db.ts";
import { createLog } from "../src/platform/log.ts";

/** Thrown where the leader is killed. */
export class Killed extends Error {}

/** When a leader is killed: at which step, and whether that step was done. */
export interface Kill {
  readonly atStep: number;
  readonly isDone: boolean;
}

const WELL: CloudScript = {
  script: () => ({ healthyAfterMs: 60_000, diesAfterMs: null }),
  listLagMs: 10_000,
  lostShare: 0,
  emptyShare: 0,
};
const NOTHING: Demand = { waitingJobs: 0, runningJobs: 0, jobMs: 30_000, oldestWaitMs: null };
/** An instant to begin at: whole, and no summer time near it. */
const BEGIN = Date.parse("2026-01-31T12:00:00Z");

const NO_ANSWER = {
  kind: "trouble",
  trouble: { kind: "unavailable", message: "no answer", retryAfterMs: null, mayHaveHappened: true },
} as const;

/** See the head of this file. */
export type FleetKit = Awaited<ReturnType<typeof createFleetKit>>;

/** Opens a database and makes the first leader. */
export async function createFleetKit(
  options: {
    readonly cloud?: Partial<CloudScript>;
    readonly policy?: Partial<FleetPolicy>;
    readonly max?: number;
    readonly breaker?: BreakerPolicy;
  } = {},
) {
  const database = await createTestDatabase({ max: 4 });
  const { db, url } = database;
  const ids = createIdSource(systemClock, systemRandom);
  let world = { cloud: new FakeCloud({ ...WELL, ...options.cloud }, seededRandom(1)), now: BEGIN };
  let demand = NOTHING;
  let trouble: ProviderTrouble | null = null;
  let kill: Kill | null = null;
  let steps = 0;
  let hasPool = true;
  let lines: string[] = [];
  const log = createLog({ level: "debug", write: (line) => void lines.push(line) });
  let creates = 0;
  let reconciler: Reconciler;
  let leaders = 0;

  const policy: FleetPolicy = {
    ...DEFAULT_FLEET_POLICY,
    coolDownMs: 60_000,
    ...options.policy,
    pools: [
      {
        name: "gpu",
        provider: "runpod",
        min: 0,
        max: options.max ?? 4,
        instancesPerMachine: 1,
        pricePerHour: 1,
        startTimeoutMs: 600_000,
        progressTimeoutMs: 300_000,
        offerCount: 1,
      },
    ],
  };
  const newLeader = (): void => {
    leaders += 1;
    kill = null;
    let isDead = false;
    const die = (): never => {
      isDead = true;
      throw new Killed();
    };
    const step = async <T>(run: () => Promise<T>): Promise<T> => {
      // A killed process does nothing more, whatever caught what killed it.
      if (isDead) throw new Killed();
      steps += 1;
      const isHere = kill?.atStep === steps;
      if (isHere && kill?.isDone !== true) die();
      const value = await run();
      if (isHere) die();
      return value;
    };
    const counted = <T extends Queryable>(inner: T): Queryable => ({
      query: (text, values) => step(() => inner.query(text, values)),
    });
    const killable: Db = {
      ...db,
      ...counted(db),
      transaction: (fn, transaction) =>
        step(() =>
          db.transaction(
            (tx) => fn({ ...counted(tx), isTransaction: true } as Transaction),
            transaction,
          ),
        ),
    };
    const provider: MachineProvider = {
      kind: "runpod",
      offers: [{ gpuType: null, zone: null, isSpot: false }],
      list: () =>
        step(async () =>
          trouble === null
            ? ({ kind: "ok", value: world.cloud.list(world.now).machines } as const)
            : ({ kind: "trouble", trouble } as const),
        ),
      create: ({ name }) =>
        step(async () => {
          creates += 1;
          if (trouble !== null) return { kind: "trouble", trouble } as const;
          return world.cloud.create(name, world.now);
        }),
      terminate: (ref) =>
        step(async () => {
          if (world.cloud.isDeaf) return NO_ANSWER;
          world.cloud.terminate(ref, world.now);
          return { kind: "ok", value: null } as const;
        }),
      check: async () => ({ kind: "ok", value: [] }),
      close: async () => undefined,
    };
    reconciler = createReconciler({
      db: killable,
      clock: { ...systemClock, elapsed: () => world.now },
      random: seededRandom(leaders),
      ids,
      log,
      settings: {
        installation: "test01",
        policy: hasPool ? policy : { ...policy, pools: [] },
        pools: [
          {
            name: "gpu",
            provider,
            env: async () => ({ kind: "ok" as const, env: {} }),
            health: null,
          },
        ].filter(() => hasPool),
        breaker: options.breaker ?? DEFAULT_BREAKER_POLICY,
        publicUrl: () => "http://127.0.0.1:8328",
      },
      ports: {
        demand: () => step(async () => demand),
        cordon: (tx, machineId, isCordoned) => setMachineCordon(tx, machineId, isCordoned),
        enrol: () => step(async () => null),
        ping: async () => null,
      },
      readNow: () => step(async () => world.now),
      onEvents: () => undefined,
    });
  };
  newLeader();

  /** Agents of machines that came up tell of themselves. */
  const tellAgents = async (): Promise<void> => {
    for (const { name, ref } of world.cloud.machines) {
      const signs = world.cloud.signs(name, world.now, 0, null);
      const heartbeatAt = signs.isHealthy ? world.now : signs.heartbeatAt;
      if (heartbeatAt === null) continue;
      await db.query(
        `insert into machines as m (id, name, boot_id, session, state, agent_version, last_heartbeat_at,
           registered_at)
         values ($1, $2, 'boot', 1, 'online', 'test', $3, $3)
         on conflict (id) do update set last_heartbeat_at = excluded.last_heartbeat_at
         where m.last_heartbeat_at < excluded.last_heartbeat_at`,
        [`mch_${ref}`, name, toTimestamp(heartbeatAt)],
      );
      await db.query(
        `insert into instances (id, machine_id, key, name, state) values ($1, $2, 'k', 'k', $3)
         on conflict (id) do update set state = excluded.state`,
        [`ins_${ref}`, `mch_${ref}`, signs.isHealthy ? "healthy" : "starting"],
      );
    }
  };

  return {
    db,
    url,
    drop: () => database.drop(),
    get cloud() {
      return world.cloud;
    },
    get now() {
      return world.now;
    },
    /** Steps of the leader so far. */
    get steps() {
      return steps;
    },
    setDemand(more: Partial<Demand>) {
      demand = { ...NOTHING, ...more };
    },
    /** What the provider says to every question from now on; null: it answers again. */
    setTrouble(kind: ProviderTrouble["kind"] | null) {
      trouble =
        kind === null ? null : { kind, message: kind, retryAfterMs: null, mayHaveHappened: false };
    },
    /** How often a machine was asked for. */
    get creates() {
      return creates;
    },
    newLeader,
    /** Another leader, whose `fleet.yaml` has the pool, or not. */
    setPool(isThere: boolean) {
      hasPool = isThere;
      newLeader();
    },
    killNext(given: Kill) {
      steps = 0;
      kill = given;
    },
    /** Everything anew but the database itself. */
    async reset(cloud: Partial<CloudScript> = {}, seed = 1) {
      await emptyTables(db, [
        "fleet_machines",
        "fleet_breaker",
        "fleet_pools",
        "fleet_levers",
        "fleet_leader",
        "instances",
        "machines",
      ]);
      world = {
        cloud: new FakeCloud({ ...WELL, ...options.cloud, ...cloud }, seededRandom(seed)),
        now: BEGIN,
      };
      demand = NOTHING;
      lines = [];
      hasPool = true;
      trouble = null;
      creates = 0;
      newLeader();
    },
    /** What leaders have logged since the last reset. */
    logged(): readonly Readonly<Record<string, unknown>>[] {
      return lines.map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
    },
    /** A machine that somebody else has started registers, or is heard of again. */
    async registerStatic(name: string) {
      await db.query(
        `insert into machines (id, name, boot_id, session, state, agent_version, last_heartbeat_at)
         values ($1, $2, 'boot', 1, 'online', 'test', $3)
         on conflict (id) do update set last_heartbeat_at = excluded.last_heartbeat_at`,
        [`mch_${name}`, name, toTimestamp(world.now)],
      );
      await db.query(
        `insert into instances (id, machine_id, key, name, state) values ($1, $2, 'k', 'k', 'healthy')
         on conflict do nothing`,
        [`ins_${name}`, `mch_${name}`],
      );
    },
    /** One round after so long; another leader takes over when this one is killed. */
    async tick(ms: number, agents: "heard" | "unheard" = "heard") {
      world.now += ms;
      if (agents === "heard") await tellAgents();
      const holder = `leader-${leaders}`;
      await db.query(
        "update fleet_leader set leads_until = now() - interval '1 s' where holder <> $1",
        [holder],
      );
      const epoch = await takeLead(db, holder, 60_000);
      if (epoch === null) throw new Error("somebody else leads");
      try {
        return await reconciler.round(
          { epoch, isLeading: () => true },
          new AbortController().signal,
        );
      } catch (error) {
        if (!(error instanceof Killed) && !(error instanceof LeadLost)) throw error;
        newLeader();
        return undefined;
      }
    },
    /** Instances that take no new jobs. */
    async cordoned() {
      const { rows } = await db.query<{ readonly n: number }>(
        "select count(*)::int as n from instances where cordoned",
      );
      return rows[0]?.n ?? 0;
    },
    async rows() {
      const { rows } = await db.query<{
        readonly name: string;
        readonly provider: string;
        readonly state: string;
        readonly end_cause: string | null;
        readonly end_kind: string | null;
        readonly end_reason: string | null;
        readonly trouble: string | null;
      }>("select * from fleet_machines order by id");
      return rows;
    },
  };
}
