/** Error events from the attempt that fails to the numbers that are told, with real reports. */
import type { AttemptReport, Lease } from "@holdfast/contract";
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ROOT, ANN } from "../../testing/jobs-kit.ts";
import { createSchedulerKit, type Agent, type SchedulerKit } from "../../testing/scheduler-kit.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { createErrorFoldLoop } from "./loop.ts";
import { MAX_KEYS, OTHER_KEY } from "./model.ts";
import { createRecoveryStatistics, type RecoveryStatisticsService } from "./statistics-service.ts";
import { foldChanges, pruneCounts } from "./store.ts";
import { emptyTables } from "../../../../test/support/test-database.ts";

let kit: SchedulerKit;
let statistics: RecoveryStatisticsService;
beforeAll(async () => {
  kit = await createSchedulerKit();
  statistics = createRecoveryStatistics(kit.test.db, true);
});
afterAll(() => kit.close());
beforeEach(async () => {
  await kit.reset();
  await emptyTables(kit.test.db, ["error_events", "error_changes", "error_counts"]);
  await kit.storeBlob();
});

const OOM: AttemptReport["outcome"] = {
  kind: "failed",
  outputs: [],
  evidence: {
    channel: "execution",
    exceptionType: "torch.OutOfMemoryError",
    message: "Allocation on device",
    nodeId: "2",
    nodeType: "KSampler",
  },
};
const ABORTED: AttemptReport["outcome"] = {
  kind: "failed",
  outputs: [],
  evidence: { channel: "validation", validationType: "value_not_in_list", message: "nothing" },
};
const fold = () => kit.test.db.transaction((tx) => foldChanges(tx, 5_000));
const totals = () => statistics.totals(ROOT);

async function claim(agent: Agent): Promise<Lease> {
  let lease: Lease | undefined;
  await expect
    .poll(async () => (lease = (await kit.poll(agent, 1, [], 50)).leases[0]), { timeout: 5_000 })
    .toBeDefined();
  return lease as Lease;
}
/** Lets a backoff be over. */
const skipBackoff = () =>
  kit.test.db.query("update jobs set state = 'queued', run_at = null where state = 'recovering'");

describe("an error event", () => {
  it("is open while its job goes on, and successful when that completed, before and after folding", async () => {
    await kit.queueJobs(1);
    const { agent } = await kit.register();
    await kit.send(agent, kit.failedWith(await claim(agent), OOM));
    const open = {
      total_errors: 1,
      successful_recoveries: 0,
      failed_recoveries: 0,
      recovery_rate: 0,
      error_distribution: { cuda_out_of_memory: 1 },
    };
    expect(await totals()).toEqual(open);
    expect(await fold()).toBe(1);
    expect(await totals()).toEqual(open);
    await skipBackoff();
    await kit.send(agent, kit.succeeded(await claim(agent)));
    const settled = { ...open, successful_recoveries: 1, recovery_rate: 100 };
    expect(await totals()).toEqual(settled);
    await fold();
    expect(await totals()).toEqual(settled);
    const { windows } = await statistics.detailed(ROOT);
    for (const window of ["1h", "24h", "7d", "all"] as const) {
      expect(windows[window]).toMatchObject({
        total_errors: 1,
        open: 0,
        by_class: { cuda_out_of_memory: { successful_recoveries: 1 } },
        by_strategy: { REDUCE_PARAMS: { total_errors: 1 } },
        by_node_type: { KSampler: { recovery_rate: 100 } },
        by_machine: { [agent.machineId]: { total_errors: 1 } },
      });
    }
    const left = await kit.test.db.query(
      "select 1 from error_events union all select 1 from error_changes",
    );
    expect(left.rowCount).toBe(0);
  });

  it("is failed when the job failed by it, in one transaction", async () => {
    await kit.queueJobs(1);
    const { agent } = await kit.register();
    for (let tries = 0; tries < 30; tries += 1) {
      const lease = await claim(agent);
      await kit.send(agent, kit.failedWith(lease, ABORTED));
      if ((await kit.jobRow(lease.jobId)).state === "failed") break;
      await skipBackoff();
    }
    const told = await totals();
    expect(told.total_errors).toBeGreaterThan(0);
    expect(told).toMatchObject({ failed_recoveries: told.total_errors, recovery_rate: 0 });
  });

  it("is in neither count when its job is cancelled", async () => {
    const [jobId] = await kit.queueJobs(1);
    const { agent } = await kit.register();
    await kit.send(agent, kit.failedWith(await claim(agent), OOM));
    await kit.test.db.query(
      "update jobs set state = 'cancelled', ended_at = now(), held = false, run_at = null where id = $1",
      [jobId],
    );
    const { windows } = await statistics.detailed(ROOT, "all");
    expect(windows).toMatchObject({
      all: { total_errors: 1, cancelled: 1, open: 0, successful_recoveries: 0 },
    });
    expect(Object.keys(windows)).toEqual(["all"]);
  });

  it("is counted once when its report comes twice, or at two replicas at once", async () => {
    await kit.queueJobs(1);
    const { agent } = await kit.register();
    const report = kit.failedWith(await claim(agent), OOM);
    const other = kit.makeScheduler();
    const twice = {
      machineId: agent.machineId,
      session: agent.session,
      reports: [report],
    };
    await Promise.all([
      kit.scheduler().reports.report(twice),
      other.reports.report(twice),
      kit.scheduler().reports.report(twice),
    ]);
    expect(await totals()).toMatchObject({ total_errors: 1 });
  });

  it("is settled once when a success and a cancel race, and folding goes on meanwhile", async () => {
    const { agent } = await kit.register();
    for (let round = 0; round < 10; round += 1) {
      const [jobId] = await kit.queueJobs(1);
      await kit.send(agent, kit.failedWith(await claim(agent), OOM));
      await skipBackoff();
      const lease = await claim(agent);
      const cancel = kit.test.db.query(
        `with j as (update jobs set state = 'cancelled', ended_at = now(),
             lease_epoch = lease_epoch + 1
           where id = $1 and state = 'processing' returning id)
         delete from leases using j where job_id = j.id`,
        [jobId],
      );
      await Promise.all([kit.send(agent, kit.succeeded(lease)), cancel, fold(), fold()]);
    }
    const { windows } = await statistics.detailed(ROOT, "all");
    const { all } = windows;
    expect(all).toMatchObject({ total_errors: 10, open: 0 });
    expect((all?.successful_recoveries ?? 0) + (all?.cancelled ?? 0)).toBe(10);
  });

  it("is none for work given back, nor for what was only staged when its instance died", async () => {
    await kit.queueJobs(2);
    const { agent } = await kit.register();
    const died = {
      ...kit.failedWith(await claim(agent), {
        kind: "instance_died",
        evidence: { channel: "process_exit", message: "exit 1" },
      }),
      started: false,
    };
    await kit.send(agent, died);
    await kit.send(
      agent,
      kit.failedWith(await claim(agent), { kind: "released", reason: "drain" }),
    );
    expect(await totals()).toMatchObject({ total_errors: 0, error_distribution: {} });
  });
});

describe("counts", () => {
  const change = (more: string, count = 1): Promise<unknown> =>
    kit.test.db.query(
      `insert into error_changes (owner, kind, class, strategy, rung, node_type, machine_id, at)
       select ${more} from generate_series(1, ${count}) n`,
    );

  it("of a user are its own", async () => {
    await change(`'key_ann', 'error', 'timeout', 'RETRY', 'r', null, 'mch_1', now()`, 3);
    await change(`'key_bob', 'error', 'timeout', 'RETRY', 'r', null, 'mch_1', now()`, 2);
    expect((await statistics.totals(ANN)).total_errors).toBe(3);
    expect((await totals()).total_errors).toBe(5);
    await fold();
    expect((await statistics.totals(ANN)).total_errors).toBe(3);
    expect((await totals()).total_errors).toBe(5);
  });

  it("of a window leave out what was before it; those of ever do not, whatever is removed", async () => {
    const at = (ago: string): Promise<unknown> =>
      change(`'local', 'error', 'timeout', 'RETRY', 'r', 'N', 'mch_1', now() - interval '${ago}'`);
    for (const ago of ["0", "90 minutes", "30 hours", "20 days"]) await at(ago);
    const counted = async (): Promise<unknown[]> => {
      const { windows } = await statistics.detailed(ROOT);
      return (["1h", "24h", "7d", "all"] as const).map((one) => windows[one]?.total_errors);
    };
    expect(await counted()).toEqual([1, 2, 3, 4]);
    await fold();
    await pruneCounts(kit.test.db);
    expect(await counted()).toEqual([1, 2, 3, 4]);
  });

  it("have an end of keys, and lose no error by it", async () => {
    await change(
      `'local', 'error', 'timeout', 'RETRY', 'r', 'Node' || n, 'mch_1', now()`,
      MAX_KEYS,
    );
    await fold();
    await change(`'local', 'error', 'timeout', 'RETRY', 'r', 'Late' || n, 'mch_1', now()`, 50);
    await change(`'local', 'error', 'timeout', 'RETRY', 'r', 'Node7', 'mch_1', now()`);
    await fold();
    const { windows } = await statistics.detailed(ROOT, "all");
    const byNode = windows.all?.by_node_type ?? {};
    expect(Object.keys(byNode)).toHaveLength(MAX_KEYS + 1);
    expect(byNode[OTHER_KEY]).toMatchObject({ total_errors: 50 });
    expect(byNode["Node7"]).toMatchObject({ total_errors: 2 });
    expect(windows.all?.total_errors).toBe(MAX_KEYS + 51);
  });

  it("are made by the loop, and reading them looks at as many rows after 100,000 errors as after ten", async () => {
    const loop = createErrorFoldLoop({
      db: kit.test.db,
      clock: systemClock,
      random: seededRandom(1),
      log: SILENT_LOG,
    });
    const fill = async (count: number): Promise<number> => {
      await change(
        `'local', case when n % 2 = 0 then 'error' else 'recovered' end,
         'class' || n % 10, 'RETRY', 'r', 'N' || n % 10, 'mch_' || n % 10, now()`,
        count,
      );
      await loop.start();
      await expect
        .poll(async () => (await kit.test.db.query("select from error_changes limit 1")).rowCount, {
          timeout: 20_000,
        })
        .toBe(0);
      await loop.stop();
      const { rows } = await kit.test.db.query<{ rows: number }>(
        "select count(*)::int as rows from error_counts where grain = 'all'",
      );
      return rows[0]?.rows ?? 0;
    };
    const few = await fill(10);
    expect(await fill(100_000)).toBe(few);
    expect(await totals()).toMatchObject({ total_errors: 50_005, successful_recoveries: 50_005 });
  });

  it("are not kept when they are switched off, and the answer says so", async () => {
    const off = createRecoveryStatistics(kit.test.db, false);
    await kit.test.db.transaction((tx) =>
      off.record(tx, {
        attemptId: "att_x",
        jobId: "job_x",
        owner: "local",
        class: "timeout",
        strategy: "RETRY",
        rung: "r",
        nodeType: null,
      }),
    );
    expect((await kit.test.db.query("select from error_events")).rowCount).toBe(0);
    await change(`'local', 'error', 'timeout', 'RETRY', 'r', null, 'mch_1', now()`);
    expect(await off.totals(ROOT)).toEqual({
      total_errors: 0,
      successful_recoveries: 0,
      failed_recoveries: 0,
      recovery_rate: 0,
      error_distribution: {},
      enabled: false,
    });
    expect(await off.detailed(ROOT, "1h")).toMatchObject({
      enabled: false,
      windows: { "1h": { total_errors: 0, by_class: {} } },
    });
  });
});
