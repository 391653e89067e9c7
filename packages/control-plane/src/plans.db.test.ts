/** How Postgres plans the statements that every job takes: once, and by an index. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { createSchedulerKit, type SchedulerKit } from "../testing/scheduler-kit.ts";
import { readOutputs } from "./jobs/read-store.ts";
import type { Transaction } from "./platform/db.ts";
import { NOTE_FETCHING, noteFetching, readNewestJobId } from "./scheduler/fetch-store.ts";
import { readQueueHeads } from "./scheduler/lease-store.ts";

const JOBS = 500;
/** Postgres plans a statement anew five times before it considers to keep a plan. */
const NEW_PLANS = 5;
const CALLS = 12;

let kit: SchedulerKit;
let jobIds: readonly string[];
beforeAll(async () => {
  kit = await createSchedulerKit();
  jobIds = await kit.queueJobs(JOBS);
  await kit.test.db.query("analyze jobs");
});
afterAll(() => kit.close());

async function plansOf(tx: Transaction, name: string) {
  const { rows } = await tx.query(
    `select custom_plans as new, generic_plans as kept from pg_prepared_statements where name = $1`,
    [name],
  );
  return rows;
}

it.each([
  [1, 16],
  [20, 64],
  [100, 256],
])("%i heads of one requirement are planned once", async (limit, count) => {
  const { rows } = await kit.test.db.query<{ id: number }>("select id from requirements");
  expect(rows).toHaveLength(1);
  await kit.test.db.transaction(async (tx) => {
    for (let call = 0; call < CALLS; call += 1) {
      const heads = await readQueueHeads(tx, [rows[0]?.id ?? 0], limit, ["ins_1"]);
      expect(heads.map((head) => head.jobId)).toEqual(jobIds.slice(0, limit));
    }
    expect(await plansOf(tx, `scheduler.queue_heads.${count}`)).toEqual([
      { new: NEW_PLANS, kept: CALLS - NEW_PLANS },
    ]);
  });
});

it("the heads of one requirement are those of several of which the others have none", async () => {
  const { db } = kit.test;
  const { rows } = await db.query<{ id: number }>("select id from requirements");
  const id = rows[0]?.id ?? 0;
  // Their age is another at each call.
  const withoutAge = async (ids: readonly number[]) =>
    (await readQueueHeads(db, ids, 30, ["ins_1"])).map((head) => ({ ...head, ageMs: 0 }));
  expect(await withoutAge([id])).toEqual(await withoutAge([id, id + 1]));
  // More than a statement of its own is kept for.
  expect(await readQueueHeads(db, [id], JOBS + 1, ["ins_1"])).toHaveLength(JOBS);
});

it("outputs of a job are looked up by one plan, by its id and by its number", async () => {
  const { rows } = await kit.test.db.query<{ number: number }>(
    "select number from jobs where id = $1",
    [jobIds[7]],
  );
  const number = rows[0]?.number ?? 0;
  await kit.test.db.transaction(async (tx) => {
    for (let call = 0; call < CALLS; call += 1) {
      expect(await readOutputs(tx, { id: jobIds[7] ?? "" }, 10)).toMatchObject({ outputs: [] });
      expect(await readOutputs(tx, { number }, 10)).toMatchObject({ outputs: [] });
    }
    for (const name of ["jobs.outputs", "jobs.outputs_by_number"]) {
      expect(await plansOf(tx, name)).toEqual([{ new: NEW_PLANS, kept: CALLS - NEW_PLANS }]);
    }
  });
});

it("jobs that wait for a fetch are noted once, and after that only the new ones are looked at", async () => {
  const { rows } = await kit.test.db.query<{ id: number }>("select id from requirements");
  const id = rows[0]?.id ?? 0;
  await kit.test.db.transaction(async (tx) => {
    const newest = await readNewestJobId(tx);
    expect(newest).toBe([...jobIds].sort().at(-1));
    const first = await noteFetching(tx, id, "it is fetched", { afterId: "", limit: 20 });
    expect(first).toHaveLength(20);
    expect(await noteFetching(tx, id, "it is fetched", { afterId: newest, limit: 20 })).toEqual([]);
    const { rows: lines } = await tx.query<Record<string, string>>(
      `explain (analyze, costs off, timing off, summary off) ${NOTE_FETCHING}`,
      [id, "it is fetched", '[{"rung": "fetch_model"}]', 20, newest],
    );
    const plan = lines.map((line) => Object.values(line).join()).join("\n");
    expect(plan).toMatch(/Index Scan using jobs_pkey on jobs[^]*Index Cond: \(\(?id >/);
    expect(plan).not.toContain("Rows Removed by Filter");
    await tx.query("update jobs set plan = null");
  });
});

it("a plan that is made while a table is small goes by its index all the same", async () => {
  await kit.test.db.transaction(async (tx) => {
    await tx.query("create temporary table small (id text primary key) on commit drop");
    await tx.query("insert into small values ('a'), ('b')");
    await tx.query("analyze small");
    const { rows } = await tx.query<Record<string, string>>(
      "explain (costs off) select * from small where id = any('{a,b}')",
    );
    const plan = rows.map((row) => Object.values(row).join()).join("\n");
    expect(plan).toContain("small_pkey");
    expect(plan).not.toContain("Seq Scan");
  });
});
