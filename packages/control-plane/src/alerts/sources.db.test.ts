/** What the sources read from the tables, and a crash that is told: with the scheduler as it is. */
import { BUILT_IN_RULES, type Sample } from "@holdfast/alerts";
import type { AttemptReport } from "@holdfast/contract";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createSchedulerKit, type SchedulerKit } from "../../testing/scheduler-kit.ts";
import { createJobTroubles } from "../jobs/trouble-service.ts";
import { createMachinesService } from "../machines/service.ts";
import { createMachineTroubles } from "../machines/trouble-service.ts";
import type { Db } from "../platform/db.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { countDead } from "../webhooks/dead-store.ts";
import { selectLive } from "./alert-store.ts";
import { evaluateOnce } from "./evaluation-service.ts";
import { createObserver } from "./sources.ts";
import { createSources, type SourcesDeps } from "./sources-service.ts";
import { emptyTables } from "../../../../test/support/test-database.ts";

const ids = createIdSource(systemClock, seededRandom(9));
const NONE: ReadonlySet<string> = new Set();
let kit: SchedulerKit;
let db: Db;
beforeAll(async () => {
  kit = await createSchedulerKit();
  ({ db } = kit.test);
});
afterAll(() => kit.close());
beforeEach(async () => {
  await kit.reset();
  await emptyTables(db, [
    "alerts",
    "alert_told",
    "alert_channels",
    "alert_deliveries",
    "alert_evaluation",
    "alert_job_ends",
    "job_end_counts",
    "job_transitions",
    "webhook_deliveries",
    "requirements",
  ]);
});

const DIED: AttemptReport["outcome"] = {
  kind: "instance_died",
  evidence: { channel: "process_exit", message: "the process ended" },
};

function makeObserver(more: Partial<SourcesDeps> = {}) {
  const stats = { oldestQueuedAgeMs: null, held: 0 } as never;
  const sources = createSources({
    db,
    clock: systemClock,
    jobs: { stats: async () => stats },
    jobTroubles: createJobTroubles(db),
    machines: createMachinesService(db),
    machineTroubles: createMachineTroubles(db),
    channelNames: ["ops"],
    deadWebhooks: (withinMs) => countDead(db, withinMs, 10),
    ...more,
  });
  const metricSamples = async () => ({ told: [], samples: [] });
  return createObserver({ sources, metricSamples, clock: systemClock, log: SILENT_LOG });
}

async function samplesOf(metric: string, more: Partial<SourcesDeps> = {}): Promise<Sample[]> {
  const { told, samples } = await makeObserver(more).observe(NONE);
  expect(told).toContain(metric);
  return samples.filter((one) => one.metric === metric);
}

describe("a crash of ComfyUI", () => {
  test("queues the job again and fires an alert, which ends when none followed", async () => {
    const [jobId = ""] = await kit.queueJobs(1);
    const { agent } = await kit.register(null, [], ["http://a", "http://b"]);
    const lease = kit.only((await kit.poll(agent, 1)).leases);
    const evaluate = async () => {
      await db.query("delete from alert_evaluation");
      return await evaluateOnce({
        db,
        ids,
        log: SILENT_LOG,
        rules: { inForce: async () => BUILT_IN_RULES },
        observer: makeObserver(),
        channels: [],
        onEvents: () => undefined,
        onDue: () => undefined,
      });
    };
    await evaluate();
    expect(await selectLive(db)).toEqual([]);

    await kit.send(agent, kit.failedWith(lease, DIED));

    // The job goes on at no cost …
    await kit.scheduler().start();
    await expect.poll(async () => (await kit.poll(agent, 1, [], 100)).leases[0]?.jobId).toBe(jobId);
    // … and somebody is told, with an event in the outbox.
    await evaluate();
    const instance = lease.instanceId === agent.instanceIds[0] ? "gpu0" : "gpu1";
    expect(await selectLive(db)).toMatchObject([
      {
        rule: "instance_crashed",
        severity: "warning",
        state: "firing",
        labels: { machine: "box", instance },
        summary: expect.stringMatching(
          new RegExp(
            `^ComfyUI crashed on box \\(${instance}\\): 1 time in 10 min, last during job \\d+, which runs again; its machine has not said how it is since$`,
          ),
        ),
      },
    ]);
    const { rows } = await db.query("select type, owner from events where type like 'alert.%'");
    expect(rows).toEqual([{ type: "alert.fired", owner: "fleet" }]);

    // A while later it is back, and the job is done.
    await db.query(
      "update attempts set ended_at = now() - interval '1 min' where ended_at < now()",
    );
    await db.query("update machines set last_heartbeat_at = now()");
    await db.query("update instances set state = 'healthy', reason = null");
    await db.query("update jobs set state = 'completed', ended_at = now() where id = $1", [jobId]);
    expect(await samplesOf("instance_deaths")).toMatchObject([
      { words: expect.stringMatching(/, which completed after it; the instance is back$/) },
    ]);

    await db.query(
      "update attempts set ended_at = now() - interval '11 min' where ended_at < now()",
    );
    expect(await evaluate()).toMatchObject({
      changes: [
        {
          kind: "resolved",
          reason: "it is not seen any more",
          alert: { rule: "instance_crashed" },
        },
      ],
    });
  });

  test("of two instances during one job is a poison job", async () => {
    const [jobId = ""] = await kit.queueJobs(1);
    expect(await samplesOf("jobs_poisoned")).toEqual([]);
    await db.query(
      `update jobs set state = 'failed', poison = true, ended_at = now(),
         error = '{"message": "CUDA broke"}' where id = $1`,
      [jobId],
    );
    const [poisoned] = await samplesOf("jobs_poisoned");
    expect(poisoned).toMatchObject({ value: 1, words: "CUDA broke" });
    await db.query("update jobs set ended_at = now() - interval '61 min'");
    expect(await samplesOf("jobs_poisoned")).toEqual([]);
  });
});

test("needs that no machine can serve are told while jobs wait for them", async () => {
  const [jobId] = await kit.queueJobs(2);
  expect(await samplesOf("jobs_unservable")).toEqual([]);
  await db.query("update requirements set waiting_reason = 'no machine has model x'");
  expect(await samplesOf("jobs_unservable")).toMatchObject([
    { value: 2, words: "no machine has model x (2 jobs)" },
  ]);
  await db.query("update jobs set held = true where id = $1", [jobId]);
  expect(await samplesOf("jobs_unservable")).toMatchObject([{ value: 1 }]);
  await db.query("update jobs set held = true");
  expect(await samplesOf("jobs_unservable")).toEqual([]);
});

test("the share of failed jobs is that of what has ended", async () => {
  const all = await kit.queueJobs(10);
  await db.query("update jobs set state = 'completed', ended_at = now() where id = any($1)", [
    all.slice(0, 7),
  ]);
  await db.query("update jobs set state = 'failed', ended_at = now() where id = any($1)", [
    all.slice(7),
  ]);
  await db.query(
    "insert into alert_job_ends values (date_trunc('hour', now()) - interval '2 hours', 95, 5)",
  );
  expect(await samplesOf("jobs_failed_share")).toMatchObject([
    { value: 0.3, words: "3 of 10; on the day before 5%" },
  ]);
  const [rise] = await samplesOf("jobs_failed_share_rise");
  expect(rise?.value).toBeCloseTo(6);
});

test("the error budget is that of what has ended, and cancelled jobs use up nothing of it", async () => {
  const all = await kit.queueJobs(10);
  const end = (state: string, from: number, to: number) =>
    db.query(`update jobs set state = '${state}', ended_at = now() where id = any($1)`, [
      all.slice(from, to),
    ]);
  await end("completed", 0, 3);
  await end("cancelled", 3, 8);
  expect(await samplesOf("error_budget_burn_rate")).toMatchObject([{ value: 0 }]);
  await end("timeout", 8, 9);
  const [burn] = await samplesOf("error_budget_burn_rate");
  expect(burn?.value).toBeCloseTo(12.5);
  expect(burn?.words).toMatch(/^1 of 4 jobs failed in the last hour, /);
  expect(await samplesOf("error_budget_failed_jobs")).toMatchObject([{ value: 1 }]);
});

test("machines without heartbeats are told, without those that were ended on purpose", async () => {
  expect(await samplesOf("machines_silent_share")).toMatchObject([{ value: 0 }]);
  await kit.register();
  await kit.register();
  await db.query("update machines set state = 'lost' where id = (select min(id) from machines)");
  expect(await samplesOf("machines_silent_share")).toMatchObject([
    { value: 0.5, words: "1 of 2 machines" },
  ]);
  const endedOnPurpose = async () => 1;
  expect(await samplesOf("machines_silent_share", { endedOnPurpose })).toMatchObject([
    { value: 0 },
  ]);
  await db.query("update machines set state = 'lost'");
  expect(await samplesOf("machines_silent_share")).toMatchObject([{ value: 1 }]);
  expect(await samplesOf("machines_silent_share", { endedOnPurpose: async () => 2 })).toMatchObject(
    [{ value: 0 }],
  );
});

test("instances that are set aside or unhealthy are told with their reasons", async () => {
  const { agent } = await kit.register(null, [], ["http://a", "http://b"]);
  await db.query(
    `update instances set quarantined_until = now() + interval '1 h', quarantine_reason = 'jobs fail'
     where id = $1`,
    [agent.instanceIds[0]],
  );
  await db.query(
    `update instances set state = 'unhealthy', reason = 'no answer',
       state_since = now() - interval '5 min' where id = $1`,
    [agent.instanceIds[1]],
  );
  const labels = (instance: string) => ({ machine: "box", instance });
  expect(await samplesOf("instance_quarantined")).toEqual([
    { metric: "instance_quarantined", labels: labels("gpu0"), value: 1, words: "jobs fail" },
  ]);
  const [unhealthy] = await samplesOf("instance_unhealthy_seconds");
  expect(unhealthy).toMatchObject({ labels: labels("gpu1"), words: "no answer" });
  expect(unhealthy?.value).toBeGreaterThanOrEqual(300);
  await db.query("update machines set state = 'lost'");
  expect(await samplesOf("instance_unhealthy_seconds")).toEqual([]);
});

test("disks with little room and faulty GPUs are told from machines' reports", async () => {
  const { agent } = await kit.register();
  const report = (free: number | null, fault: string | null) =>
    db.query(
      `insert into machine_reports (machine_id, report, summary, offers, fetches)
       values ($1, $2, $3, '{}', '[]') on conflict (machine_id) do update
       set report = excluded.report, summary = excluded.summary`,
      [
        agent.machineId,
        JSON.stringify({
          host: { diskFreeBytes: free, diskTotalBytes: 100e9 },
          gpus: [{ fault: null }, { fault }],
        }),
        JSON.stringify({ gpus: { total: 2, faulty: fault === null ? 0 : 1 } }),
      ],
    );
  await report(3e9, null);
  expect(await samplesOf("machine_disk_free_share")).toEqual([
    {
      metric: "machine_disk_free_share",
      labels: { machine: "box" },
      value: 0.03,
      words: "3.0 GB of 100.0 GB free (3%)",
    },
  ]);
  expect(await samplesOf("machine_gpus_faulty")).toEqual([]);
  await report(null, "fallen off the bus");
  expect(await samplesOf("machine_disk_free_share")).toEqual([]);
  expect(await samplesOf("machine_gpus_faulty")).toMatchObject([
    { labels: { machine: "box" }, value: 1, words: "fallen off the bus" },
  ]);
});

test("webhooks and channels that were given up are told", async () => {
  await db.query(
    `insert into webhook_deliveries (id, owner, event_id, event_type, url, payload, state, ended_at)
     select 'whd_' || n, 'x', 'e' || n, 't', 'https://Shop.example/h?n=' || n, '{}', 'dead', now()
     from generate_series(1, 3) n`,
  );
  expect(await samplesOf("webhook_deliveries_dead")).toEqual([
    {
      metric: "webhook_deliveries_dead",
      labels: { host: "shop.example" },
      value: 3,
      words: "3 to shop.example",
    },
  ]);
  await db.query(
    "insert into alert_channels (name, last_error) values ('ops', 'no answer'), ('gone', 'x')",
  );
  expect(await samplesOf("alert_channel_dead")).toEqual([
    { metric: "alert_channel_dead", labels: { channel: "ops" }, value: 1, words: "no answer" },
  ]);
});

test("the fleet's numbers come by a port, and without it its rules have no data", async () => {
  const observer = makeObserver();
  expect((await observer.observe(NONE)).told).not.toContain("fleet_failure_rate");
  const fleet = async (): Promise<Sample[]> => [
    { metric: "fleet_machines_healthy", labels: {}, value: 0 },
    { metric: "fleet_machines_expected", labels: {}, value: 0 },
  ];
  expect(await samplesOf("fleet_machines_healthy", { fleet })).toMatchObject([{ value: 0 }]);
});
