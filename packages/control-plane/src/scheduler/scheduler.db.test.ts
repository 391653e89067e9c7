import { createHash } from "node:crypto";
import type { AttemptReport, InstanceReport, Inventory, Lease } from "@holdfast/contract";
import { createIdSource, NO_FAILPOINTS, seededRandom } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { createMachinesService } from "../machines/service.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { createScheduler, type Scheduler } from "./scheduler.ts";

const ids = createIdSource(systemClock, systemRandom);
const settings = {
  leaseTtlMs: 2_000,
  renewEveryMs: 500,
  pollWaitMs: 300,
  stallMs: 120_000,
  firstLoadStallMs: 300_000,
  maxRetryAttempts: 3,
  recoveryEnabled: true,
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

let test: TestDatabase;
let scheduler: Scheduler;

const makeScheduler = (): Scheduler =>
  createScheduler({
    db: test.db,
    clock: systemClock,
    random: seededRandom(7),
    ids,
    log: SILENT_LOG,
    failpoints: NO_FAILPOINTS,
    settings,
    machines: createMachinesService(test.db),
    announceQueued: () => undefined,
    announceEvents: () => undefined,
  });

beforeAll(async () => {
  test = await createTestDatabase();
  await createMachinesService(test.db).putInventory({ inventory: INVENTORY, objectInfo: {} });
});
afterAll(() => test.drop());
beforeEach(async () => {
  await test.db.query(
    "truncate jobs, leases, attempts, outputs, events, machines, instances, settings cascade",
  );
  scheduler = makeScheduler();
});
afterEach(() => scheduler.stop());

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

interface Agent {
  readonly machineId: string;
  readonly session: number;
  readonly instanceIds: readonly string[];
  sequence: number;
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
      held: held.map((lease) => ({
        attemptId: lease.attemptId,
        jobId: lease.jobId,
        leaseEpoch: lease.leaseEpoch,
        phase: "running",
        progress: null,
      })),
      waitMs,
    },
    new AbortController().signal,
  );
}

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

describe("claiming", () => {
  it("gives each queued job to exactly one of many concurrent agents", async () => {
    const jobs = await queueJobs(60);
    const agents = await Promise.all(
      Array.from({ length: 8 }, async () => (await register(null)).agent),
    );
    const held = agents.map((): Lease[] => []);
    const count = (): number => held.flat().length;
    for (let round = 0; round < 20 && count() < jobs.length; round += 1) {
      const answers = await Promise.all(agents.map((agent, at) => poll(agent, 2, held[at], 0)));
      for (const [at, answer] of answers.entries()) held[at]?.push(...answer.leases);
    }
    const seen = held.flat().map((lease) => lease.jobId);
    expect([...seen].sort()).toEqual([...jobs].sort());
    const leases = await test.db.query("select distinct prompt_id from attempts");
    expect(leases.rowCount).toBe(jobs.length);
  });

  it("builds the graph from template and patch and names the prompt id on disk", async () => {
    const [jobId] = await queueJobs(1);
    const { agent } = await register();
    const lease = only((await poll(agent, 1)).leases);
    expect(lease.jobId).toBe(jobId);
    expect(lease.graph).toEqual({ "2": { class_type: "SaveImage", inputs: { seed: 7 } } });
    const { rows } = await test.db.query<{ prompt_id: string }>("select prompt_id from attempts");
    expect(rows).toEqual([{ prompt_id: lease.promptId }]);
  });

  it("wakes a waiting poll when a job is queued", async () => {
    const { agent } = await register();
    const waiting = poll(agent, 1, [], 5_000);
    await expect.poll(() => agent.sequence).toBe(1);
    await queueJobs(1);
    expect((await waiting).leases).toHaveLength(1);
  });

  it("sends a lease again whose answer was lost, with the same epoch and prompt id", async () => {
    await queueJobs(1);
    const { agent } = await register();
    const lost = only((await poll(agent, 1)).leases);
    const again = only((await poll(agent, 0)).leases);
    expect(again).toEqual({ ...lost, mode: "resume" });
  });

  it("gives nothing to an instance that is cordoned", async () => {
    await queueJobs(1);
    const { agent } = await register();
    await poll(agent, 0, [], 0);
    const [instanceId] = agent.instanceIds;
    await createMachinesService(test.db).setCordon(instanceId ?? "", true);
    expect((await poll(agent, 1, [], 0)).leases).toEqual([]);
  });

  it("gives nothing to an instance that lacks the model, and says so", async () => {
    const [jobId] = await queueJobs(1, {
      needs: { nodeClasses: [], models: [{ folder: "checkpoints", name: "flux.safetensors" }] },
    });
    const { agent } = await register();
    expect((await poll(agent, 1, [], 0)).leases).toEqual([]);
    await scheduler.start();
    await expect
      .poll(async () => {
        const { rows } = await test.db.query<{ reason: string | null }>(
          `select r.waiting_reason as reason from jobs j join requirements r on r.id = j.requirement_id
           where j.id = $1`,
          [jobId],
        );
        return rows[0]?.reason;
      })
      .toBe("no machine has model checkpoints/flux.safetensors");
  });
});

describe("reports", () => {
  it("completes a job once, and answers the same report again with the same word", async () => {
    await storeBlob();
    const [jobId] = await queueJobs(1);
    const { agent } = await register();
    const lease = only((await poll(agent, 1)).leases);
    const first = await send(agent, succeeded(lease));
    const second = await send(agent, succeeded(lease));
    expect([first, second].map((answer) => answer.answers[0]?.result)).toEqual([
      "recorded",
      "recorded",
    ]);
    expect(await jobRow(jobId ?? "")).toMatchObject({ state: "completed", output_count: 1 });
    const events = await test.db.query("select from events where type = 'job.completed'");
    expect(events.rowCount).toBe(1);
    expect((await test.db.query("select from leases")).rowCount).toBe(0);
  });

  it("asks for outputs that are not in the store instead of completing", async () => {
    const [jobId] = await queueJobs(1);
    const { agent } = await register();
    const lease = only((await poll(agent, 1)).leases);
    await test.db.query("delete from blobs");
    const { answers } = await send(agent, succeeded(lease));
    expect(answers).toEqual([
      { attemptId: lease.attemptId, result: "outputs_missing", missing: [SHA] },
    ]);
    expect(await jobRow(jobId ?? "")).toMatchObject({ state: "processing" });
  });

  it("never completes a job whose promised output is missing", async () => {
    const [jobId] = await queueJobs(1);
    const { agent } = await register();
    const lease = only((await poll(agent, 1)).leases);
    await send(agent, failedWith(lease, { kind: "succeeded", outputs: [] }));
    const job = await jobRow(jobId ?? "");
    expect(job.state).not.toBe("completed");
    const { rows } = await test.db.query<{ outcome: string }>("select outcome from attempts");
    expect(rows).toEqual([{ outcome: "failed" }]);
  });

  it("refuses a report under an epoch that has passed", async () => {
    await storeBlob();
    await queueJobs(1);
    const { agent } = await register();
    const lease = only((await poll(agent, 1)).leases);
    const { answer } = await register(agent.machineId);
    expect(only(answer.leases)).toMatchObject({ mode: "resume", leaseEpoch: lease.leaseEpoch + 1 });
    const { answers } = await send(agent, succeeded(lease));
    expect(answers[0]?.result).toBe("lease_lost");
    await expect(poll(agent, 1)).rejects.toMatchObject({ code: "agent_superseded" });
  });

  it("fails a job at once whose graph is wrong everywhere", async () => {
    const [jobId] = await queueJobs(1);
    const { agent } = await register();
    const lease = only((await poll(agent, 1)).leases);
    await send(
      agent,
      failedWith(lease, {
        kind: "failed",
        evidence: {
          channel: "validation",
          message: "Value 9 bigger than max of 8",
          validationType: "value_bigger_than_max",
          nodeId: "2",
        },
        outputs: [],
      }),
    );
    expect(await jobRow(jobId ?? "")).toMatchObject({ state: "failed", poison: false });
  });

  it("sets a job aside as poison after two different instances died under it", async () => {
    const [jobId] = await queueJobs(1);
    const { agent } = await register(null, [], ["http://a", "http://b"]);
    const died: AttemptReport["outcome"] = {
      kind: "instance_died",
      evidence: { channel: "process_exit", message: "the process ended" },
    };
    const first = only((await poll(agent, 1)).leases);
    await send(agent, failedWith(first, died));
    await scheduler.start();
    let second: Lease | undefined;
    await expect
      .poll(async () => {
        second = (await poll(agent, 1, [], 100)).leases[0];
        return second?.instanceId;
      })
      .toBe(agent.instanceIds.find((id) => id !== first.instanceId));
    if (second === undefined) throw new Error("no second lease");
    await send(agent, failedWith(second, died));
    expect(await jobRow(jobId ?? "")).toMatchObject({ state: "failed", poison: true });
  });

  it("never blames a staged attempt for its instance's death", async () => {
    const [jobId] = await queueJobs(1);
    const { agent } = await register(null, [], ["http://a", "http://b"]);
    for (let round = 0; round < 4; round += 1) {
      const lease = only((await poll(agent, 1)).leases);
      await send(agent, {
        ...failedWith(lease, {
          kind: "instance_died",
          evidence: { channel: "process_exit", message: "the process ended" },
        }),
        started: false,
      });
    }
    expect(await jobRow(jobId ?? "")).toMatchObject({ state: "queued", poison: false });
  });
});

describe("leases that run out", () => {
  it("queue the job again at no cost, and the old holder can write nothing", async () => {
    await storeBlob();
    const [jobId] = await queueJobs(1);
    const { agent } = await register();
    const lease = only((await poll(agent, 1)).leases);
    await scheduler.start();
    await expect
      .poll(async () => (await jobRow(jobId ?? "")).state, { timeout: 2_000 })
      .toBe("processing");
    await test.db.query("update leases set lease_until = now() - interval '1 s'");
    await expect
      .poll(async () => (await jobRow(jobId ?? "")).state, { timeout: 5_000 })
      .toBe("queued");
    const { answers } = await send(agent, succeeded(lease));
    expect(answers[0]?.result).toBe("lease_lost");
    const { rows } = await test.db.query<{ outcome: string }>("select outcome from attempts");
    expect(rows).toEqual([{ outcome: "lease_lost" }]);
  });

  it("are prolonged once when nobody watched them for a while", async () => {
    const [jobId] = await queueJobs(1);
    const { agent } = await register();
    const lease = only((await poll(agent, 1)).leases);
    await test.db.query("update leases set lease_until = now() - interval '1 h'");
    await test.db.query(
      `insert into settings (key, value)
       values ('scheduler.last_reconcile', to_jsonb(extract(epoch from now()) - 3600))`,
    );
    await scheduler.start();
    await expect
      .poll(async () => {
        const { rows } = await test.db.query<{ alive: boolean }>(
          "select lease_until > now() as alive from leases where job_id = $1",
          [jobId],
        );
        return rows[0]?.alive;
      })
      .toBe(true);
    const renewed = await scheduler.leases.renew({
      machineId: agent.machineId,
      session: agent.session,
      held: [
        {
          attemptId: lease.attemptId,
          jobId: lease.jobId,
          leaseEpoch: lease.leaseEpoch,
          phase: "running",
          progress: null,
        },
      ],
    });
    expect(renewed.revoked).toEqual([]);
  });

  it("are given back to the agent that still has the prompt, when nobody started it anew", async () => {
    const [jobId] = await queueJobs(1);
    const { agent } = await register();
    const lease = only((await poll(agent, 1)).leases);
    await scheduler.start();
    await expect.poll(async () => (await test.db.query("select from settings")).rowCount).toBe(1);
    await test.db.query("update leases set lease_until = now() - interval '1 s'");
    await expect.poll(async () => (await jobRow(jobId ?? "")).state).toBe("queued");
    const { answer } = await register(agent.machineId, [lease.promptId, "a-stranger"]);
    expect(only(answer.leases)).toMatchObject({
      attemptId: lease.attemptId,
      promptId: lease.promptId,
      mode: "resume",
    });
    expect(answer.discard).toEqual([{ key: "http://127.0.0.1:8188", promptId: "a-stranger" }]);
    expect(await jobRow(jobId ?? "")).toMatchObject({ state: "processing", attempt_count: 1 });
  });
});
