import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { createJobsKit, ANN, BOB, ROOT, graph, refusal } from "../../testing/jobs-kit.ts";
import { cancelJobs } from "./change-store.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
const { told, makeJobs, one, startAttempt, endAttempt } = createJobsKit(() => database.db);
beforeEach(() => {
  told.revoked.length = 0;
});

/** Cancels while a claim has the job's row locked and its lease written, but not committed. */
async function cancelDuringClaim(cancel: (id: string) => Promise<unknown>): Promise<number> {
  const jobs = makeJobs();
  const id = await one(jobs, ANN);
  let cancelling: Promise<unknown> = Promise.resolve();
  await database.db.transaction(async (tx) => {
    await startAttempt(id, "mch_1", tx);
    cancelling = cancel(id);
    for (;;) {
      const { rowCount } = await database.db.query(
        "select 1 from pg_locks where not granted and locktype in ('transactionid', 'tuple')",
      );
      if (rowCount > 0) break;
    }
  });
  await cancelling;
  expect((await jobs.get(ANN, id)).status).toBe("cancelled");
  return (await database.db.query("select 1 from leases where job_id = $1", [id])).rowCount;
}

describe("cancel", () => {
  test("a running job ends at once: lease gone, attempt closed, the machine told, late writes refused", async () => {
    const jobs = makeJobs();
    const id = await one(jobs, ANN);
    await startAttempt(id, "mch_7");
    expect(await jobs.get(ANN, id)).toMatchObject({ status: "processing" });
    expect(await jobs.cancel(ANN, id)).toMatchObject({ status: "cancelled", progress: null });
    expect(told.revoked).toEqual(["mch_7"]);
    expect(await endAttempt(id, "completed")).toBe(0);
    expect(await jobs.attempts(ANN, id)).toMatchObject([
      { state: "ended", outcome: "interrupted", decision: { action: "end" } },
    ]);
    const { rowCount } = await database.db.query("select 1 from leases where job_id = $1", [id]);
    expect(rowCount).toBe(0);
    expect(await jobs.cancel(ANN, id)).toMatchObject({ status: "cancelled" });
    const { rows } = await database.db.query(
      "select payload->>'by' as by from events where job_id = $1 and type = 'job.cancelled'",
      [id],
    );
    expect(rows).toEqual([{ by: ANN.id }]);
  });

  test("cancel races completion: exactly one of them wins", async () => {
    const jobs = makeJobs();
    for (let round = 0; round < 25; round += 1) {
      const id = await one(jobs, ANN);
      await startAttempt(id);
      const [code, completed] = await Promise.all([
        refusal(jobs.cancel(ANN, id)),
        endAttempt(id, "completed"),
      ]);
      const { status } = await jobs.get(ANN, id);
      expect([code, completed > 0, status]).toEqual(
        code === undefined ? [undefined, false, "cancelled"] : ["job_ended", true, "completed"],
      );
    }
  });

  test("a lease that a claim is just writing goes with the cancel", async () => {
    expect(await cancelDuringClaim((id) => makeJobs().cancel(ANN, id))).toBe(0);
  });

  test("twin: without the lock before it, the cancel leaves that lease behind", async () => {
    const left = await cancelDuringClaim((id) =>
      database.db.transaction((tx) => cancelJobs(tx, [{ id, eventId: `evt_${id}` }], ANN.id)),
    );
    expect(left).toBe(1);
  });

  test("an ended job refuses a cancel, a stranger's job is not found", async () => {
    const jobs = makeJobs();
    const id = await one(jobs, ANN);
    await startAttempt(id);
    await endAttempt(id, "completed");
    expect(await refusal(jobs.cancel(ANN, id))).toBe("job_ended");
    expect(await refusal(jobs.cancel(BOB, id))).toBe("not_found");
    expect(await refusal(jobs.get(BOB, id))).toBe("not_found");
    expect(await refusal(jobs.get(ANN, "job_00000000000000000000000000"))).toBe("not_found");
    expect(await refusal(jobs.get(ANN, "999999999999999999999"))).toBe("not_found");
    expect((await jobs.get(ROOT, id)).owner).toBe(ANN.id);
  });

  test("a batch is cancelled as a whole, other jobs are not touched", async () => {
    const jobs = makeJobs();
    await jobs.submit(
      ANN,
      Array.from({ length: 600 }, () => ({ graph: graph(), batchId: "b1", tags: ["t"] })),
    );
    const other = await one(jobs, ANN, { batchId: "b2", tags: ["t"] });
    await jobs.submit(BOB, [{ graph: graph(), batchId: "b1" }]);
    expect(await refusal(jobs.cancelMany(ANN, {}))).toBe("invalid_request");
    expect(await jobs.cancelMany(ANN, { batchId: "b1", tag: "none" })).toMatchObject({
      cancelled: 0,
    });
    expect(await jobs.cancelMany(ANN, { batchId: "b1", tag: "t" })).toEqual({
      cancelled: 600,
      more: false,
    });
    expect((await jobs.get(ANN, other)).status).toBe("queued");
    expect(await jobs.cancelMany(ROOT, { batchId: "b1" })).toMatchObject({ cancelled: 1 });
  });
});

describe("retry", () => {
  test("an ended job goes through a new round, its old attempts kept; a live one is refused", async () => {
    const jobs = makeJobs();
    const id = await one(jobs, ANN);
    expect(await refusal(jobs.retry(ANN, id))).toBe("job_not_ended");
    await startAttempt(id);
    await endAttempt(id, "failed");
    await database.db.query(
      `update jobs set failure_count = 3, poison = true, dead_instances = '{a,b}',
         execution_ms = 900, output_count = 2 where id = $1`,
      [id],
    );
    expect(await jobs.retry(ANN, id)).toMatchObject({
      status: "recovering",
      poison: false,
      failureCount: 0,
      attemptCount: 1,
      executionMs: 0,
      endedAt: null,
    });
    expect((await jobs.find(ANN, id)).job).toMatchObject({ round: 2, lineage: 1, outputCount: 2 });
    expect(await jobs.attempts(ANN, id)).toHaveLength(1);
  });

  test("a completed job is rendered again only by force, and then from nothing", async () => {
    const jobs = makeJobs();
    const id = await one(jobs, ANN);
    await startAttempt(id);
    await endAttempt(id, "completed");
    expect(await refusal(jobs.retry(ANN, id))).toBe("job_ended");
    await jobs.retry(ANN, id, { force: true });
    expect((await jobs.find(ANN, id)).job).toMatchObject({
      state: "queued",
      lineage: 2,
      outputCount: 0,
    });
  });

  test("a job that failed under a changed graph starts a lineage of its own graph", async () => {
    const jobs = makeJobs();
    const id = await one(jobs, ANN);
    await startAttempt(id);
    await endAttempt(id, "failed");
    await database.db.query(
      `update jobs set plan = '{"version": 1, "before": "nothing", "patch": {"set": []}}'
       where id = $1`,
      [id],
    );
    await jobs.retry(ANN, id);
    expect((await jobs.find(ANN, id)).job).toMatchObject({ lineage: 2, plan: null });
  });
});

describe("retry after a round", () => {
  test("asked again for the same round it changes nothing, and opens no other", async () => {
    const jobs = makeJobs();
    const id = await one(jobs, ANN);
    await startAttempt(id);
    await endAttempt(id, "failed");
    const again = () => jobs.retry(ANN, id, { afterRound: 1 });
    await Promise.all([again(), again(), again()]);
    await startAttempt(id);
    await endAttempt(id, "failed");
    expect(await again()).toMatchObject({ status: "failed" });
    const { rows } = await database.db.query("select round from jobs where id = $1", [id]);
    expect(rows).toEqual([{ round: 2 }]);
    const events = await database.db.query(
      "select 1 from events where job_id = $1 and type = 'job.redriven'",
      [id],
    );
    expect(events.rowCount).toBe(1);
  });
});

describe("priority of a batch", () => {
  test("reaches its live jobs of that caller alone, however many they are", async () => {
    const jobs = makeJobs();
    const requests = Array.from({ length: 700 }, () => ({ graph: graph(), batchId: "p" }));
    const { jobs: made } = await jobs.submit(ANN, requests);
    const ended = made[0]?.job.id ?? "";
    await jobs.cancel(ANN, ended);
    const others = await one(jobs, BOB, { batchId: "p" });
    const request = { batchId: "p", priority: 40 };
    expect(await jobs.prioritize(ANN, request)).toEqual({ changed: 699, more: false });
    expect(await jobs.prioritize(ANN, request)).toEqual({ changed: 0, more: false });
    expect(await jobs.get(ANN, made[5]?.job.id ?? "")).toMatchObject({ priority: 40 });
    expect(await jobs.get(ANN, ended)).toMatchObject({ priority: 0 });
    expect(await jobs.get(BOB, others)).toMatchObject({ priority: 0 });
  });
});
