/** A scheduler on a database of its own, with agents that are only calls: for tests. */
import { createHash } from "node:crypto";
import type {
  AttemptReport,
  HeldAttempt,
  InstanceReport,
  Inventory,
  Lease,
} from "@holdfast/contract";
import { classify } from "@holdfast/recovery";
import { createIdSource, NO_FAILPOINTS, seededRandom, type Failpoints } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { createTestDatabase, emptyTables } from "../../../test/support/test-database.ts";
import { createRegistrar } from "../src/files/registrar.ts";
import { createMachinesService } from "../src/machines/service.ts";
import { createProfilesService } from "../src/profiles/service.ts";
import { SILENT_LOG } from "../src/platform/log.ts";
import { createRecoveryStatistics } from "../src/recovery/statistics-service.ts";
import { createScheduler, type Scheduler } from "../src/scheduler/scheduler.ts";
import { withoutFence } from "./unfenced.ts";

const ids = createIdSource(systemClock, systemRandom);
const settings = {
  leaseTtlMs: 2_000,
  renewEveryMs: 500,
  pollWaitMs: 300,
  stalls: {
    progressMs: 120_000,
    firstLoadMs: 300_000,
    isFixed: { progress: false, firstLoad: false },
  },
  maxRetryAttempts: 3,
  recoveryEnabled: true,
  fallbackModels: [],
  modelWaitMs: 60_000,
  checkpoints: "auto" as const,
  checkpointMinWork: 20,
};
const INVENTORY: Inventory = {
  digest: "a".repeat(64),
  nodeClasses: ["EmptyImage", "SaveImage"],
  models: { checkpoints: ["sd15.safetensors"] },
  comfyuiVersion: "0.3.64",
  vramTotalBytes: null,
  deviceName: null,
  simulated: true,
};
const NEEDS = { nodeClasses: ["EmptyImage", "SaveImage"], models: [] };

/** See {@link createSchedulerKit}. */
export type SchedulerKit = Awaited<ReturnType<typeof createSchedulerKit>>;

/** One agent process. */
export interface Agent {
  readonly machineId: string;
  readonly session: number;
  readonly instanceIds: readonly string[];
  sequence: number;
}

/** Opens a database and a scheduler on it. `max` is the size of the pool. */
export async function createSchedulerKit(
  options: {
    readonly max?: number;
    readonly isUnfenced?: boolean;
    readonly failpoints?: Failpoints;
  } = {},
) {
  const test = await createTestDatabase(options);
  await createMachinesService(test.db).putInventory({ inventory: INVENTORY, objectInfo: {} });
  const registrar = createRegistrar({
    db: test.db,
    clock: systemClock,
    random: seededRandom(7),
    log: SILENT_LOG,
  });
  const profiles = createProfilesService({ db: test.db, log: SILENT_LOG });
  const statistics = createRecoveryStatistics(test.db, true);
  const makeScheduler = (): Scheduler =>
    createScheduler({
      db: options.isUnfenced === true ? withoutFence(test.db) : test.db,
      clock: systemClock,
      random: seededRandom(7),
      ids,
      log: SILENT_LOG,
      failpoints: options.failpoints ?? NO_FAILPOINTS,
      settings,
      machines: createMachinesService(test.db),
      blobs: registrar,
      profiles,
      classify,
      recordFailure: (tx, failed) => statistics.record(tx, failed),
      recordUnserved: (tx, unserved) => statistics.recordUnserved(tx, unserved),
      checkpointRetentionHours: 48,
      onCheckpointsRemoved: () => undefined,
      announceQueued: () => undefined,
      announceEvents: () => undefined,
    });

  let scheduler = makeScheduler();
  /** An empty queue and a new scheduler. */
  const reset = async (): Promise<void> => {
    await scheduler.stop();
    await emptyTables(test.db, [
      "jobs",
      "leases",
      "attempts",
      "outputs",
      "events",
      "machines",
      "instances",
      "settings",
    ]);
    scheduler = makeScheduler();
  };

  /** Queues jobs straight into the table: the submit path is the jobs feature's. */
  async function queueJobs(count: number, extra: { timeoutMs?: number; needs?: object } = {}) {
    const needs = extra.needs ?? NEEDS;
    const hash = createHash("sha256").update(JSON.stringify(needs)).digest("hex");
    const requirement = await test.db.query<{ id: number }>(
      `insert into requirements (hash, needs) values ($1, $2)
     on conflict (hash) do update set hash = excluded.hash returning id`,
      [hash, JSON.stringify(needs)],
    );
    const graph = await test.db.query<{ id: number }>(
      `insert into graphs (hash, body, node_count, size_bytes)
     values ('g', '{"2":{"class_type":"SaveImage","inputs":{"seed":null}}}', 1, 10)
     on conflict (hash) do update set hash = excluded.hash returning id`,
    );
    const made = Array.from({ length: count }, () => ids.next("job"));
    const requirementId = requirement.rows[0]?.id ?? 0;
    await test.db.query(
      `insert into jobs (id, owner, state, rank, requirement_id, graph_id, patch, promised, timeout_ms)
     select id, 'local', 'queued', row_number() over (), $2, $3,
       '{"set":[{"nodeId":"2","input":"seed","value":7}]}', '[{"nodeId":"2"}]', $4
     from unnest($1::text[]) as j (id)`,
      [made, requirementId, graph.rows[0]?.id ?? 0, extra.timeoutMs ?? 1_800_000],
    );
    scheduler.queued([{ id: requirementId, needs: needs as typeof NEEDS }]);
    return made;
  }

  async function register(
    machineId: string | null = null,
    found: string[] = [],
    keys: readonly string[] = ["http://127.0.0.1:8188"],
  ) {
    const answer = await scheduler.leases.register({
      protocolVersion: 1,
      agentVersion: "test",
      machineId,
      machineName: "box",
      bootId: "boot-boot",
      instances: keys.map((key, index) => ({
        key,
        name: `gpu${index}`,
        foundPrompts: index === 0 ? found : [],
      })),
    });
    const agent: Agent = {
      machineId: answer.machineId,
      session: answer.session,
      instanceIds: answer.instances.map((instance) => instance.instanceId),
      sequence: 0,
    };
    return { agent, answer };
  }

  const report = (instanceId: string, wants: number): InstanceReport => ({
    instanceId,
    state: "healthy",
    reason: null,
    inventoryDigest: INVENTORY.digest,
    wants,
    vramFreeBytes: null,
  });

  function poll(agent: Agent, wants: number, held: readonly Lease[] = [], waitMs = 200) {
    agent.sequence += 1;
    return scheduler.leases.poll(
      {
        machineId: agent.machineId,
        session: agent.session,
        sequence: agent.sequence,
        instances: agent.instanceIds.map((id) => report(id, wants)),
        held: held.map(toHeld),
        waitMs,
      },
      new AbortController().signal,
    );
  }

  const toHeld = (lease: Lease): HeldAttempt => ({
    attemptId: lease.attemptId,
    jobId: lease.jobId,
    leaseEpoch: lease.leaseEpoch,
    phase: "running",
    progress: null,
  });
  const renew = (agent: Agent, held: readonly Lease[]) =>
    scheduler.leases.renew({
      machineId: agent.machineId,
      session: agent.session,
      held: held.map(toHeld),
    });

  const SHA = "b".repeat(64);
  async function storeBlob() {
    await test.db.query(
      "insert into blobs (sha256, size_bytes) values ($1, 3) on conflict do nothing",
      [SHA],
    );
  }
  const succeeded = (lease: Lease): AttemptReport => ({
    attemptId: lease.attemptId,
    jobId: lease.jobId,
    leaseEpoch: lease.leaseEpoch,
    outcome: {
      kind: "succeeded",
      outputs: [
        {
          nodeId: "2",
          ordinal: 0,
          kind: "image",
          name: "x.png",
          mediaType: "image/png",
          sizeBytes: 3,
          sha256: SHA,
          temporary: false,
          text: null,
        },
      ],
    },
    started: true,
    timings: { executeMs: 5 },
  });
  const failedWith = (lease: Lease, outcome: AttemptReport["outcome"]): AttemptReport => ({
    ...succeeded(lease),
    outcome,
  });
  const send = (agent: Agent, one: AttemptReport) =>
    scheduler.reports.report({
      machineId: agent.machineId,
      session: agent.session,
      reports: [one],
    });
  async function jobRow(id: string) {
    const { rows } = await test.db.query<{
      state: string;
      attempt_count: number;
      poison: boolean;
      output_count: number;
      lease_epoch: number;
      waiting_reason: string | null;
    }>("select * from jobs where id = $1", [id]);
    const row = rows[0];
    if (row === undefined) throw new Error("no such job");
    return row;
  }
  const only = (leases: readonly Lease[]): Lease => {
    const [lease] = leases;
    if (lease === undefined || leases.length !== 1) throw new Error(`${leases.length} leases`);
    return lease;
  };

  return {
    test,
    scheduler: () => scheduler,
    registrar: () => registrar,
    profiles,
    makeScheduler,
    reset,
    queueJobs,
    register,
    poll,
    renew,
    send,
    succeeded,
    failedWith,
    storeBlob,
    jobRow,
    only,
    sha: SHA,
    async close() {
      await scheduler.stop();
      await test.drop();
    },
  };
}
