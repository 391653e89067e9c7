import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import type { Caller } from "../access/model.ts";
import { createJobsKit, ANN, BOB, ROOT, graph, refusal } from "../../testing/jobs-kit.ts";
import { idStartAt, timeOfId } from "./id-time.ts";
import type { JobsService } from "./service.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
const { makeJobs, one, startAttempt, endedJobs } = createJobsKit(() => database.db);

describe("lists", () => {
  test("pages give every job once, in both orders, while jobs come in", async () => {
    const jobs = makeJobs();
    const { jobs: made } = await jobs.submit(
      ANN,
      Array.from({ length: 57 }, () => ({ graph: graph(), batchId: "pages" })),
    );
    const wanted = made.map(({ job }) => job.id);
    for (const order of ["newest", "oldest"] as const) {
      const seen: string[] = [];
      let cursor: string | undefined;
      do {
        const page = await jobs.list(ANN, {
          statuses: [],
          batchId: "pages",
          order,
          limit: 10,
          cursor,
        });
        seen.push(...page.items.map((item) => item.id));
        cursor = page.next ?? undefined;
        if (order === "newest") await one(jobs, ANN, { batchId: "pages" });
      } while (cursor !== undefined);
      const expected = order === "newest" ? [...wanted].reverse() : wanted;
      expect(seen.slice(0, 57)).toEqual(expected);
      expect(new Set(seen).size).toBe(seen.length);
    }
  });

  test("status, tag, time and caller narrow a list; a job that waits again is recovering", async () => {
    const jobs = makeJobs();
    const list = async (
      caller: Caller,
      more: Partial<Parameters<JobsService["list"]>[1]>,
    ): Promise<string[]> =>
      (
        await jobs.list(caller, {
          statuses: [],
          order: "oldest",
          limit: 100,
          tag: "lists",
          ...more,
        })
      ).items.map((item) => item.id);
    const fresh = await one(jobs, ANN, { tags: ["lists", "x"] });
    const again = await one(jobs, ANN, { tags: ["lists"] });
    const ended = await one(jobs, ANN, { tags: ["lists"] });
    const bobs = await one(jobs, BOB, { tags: ["lists"] });
    await startAttempt(again);
    await database.db.query("delete from leases where job_id = $1", [again]);
    await database.db.query("update jobs set state = 'queued' where id = $1", [again]);
    await jobs.cancel(ANN, ended);
    expect(await list(ANN, {})).toEqual([fresh, again, ended]);
    expect(await list(ROOT, {})).toEqual([fresh, again, ended, bobs]);
    expect(await list(ANN, { statuses: ["queued"] })).toEqual([fresh]);
    expect(await list(ANN, { statuses: ["recovering"] })).toEqual([again]);
    expect(await list(ANN, { statuses: ["recovering", "cancelled"] })).toEqual([again, ended]);
    expect(await list(ANN, { tag: "x" })).toEqual([fresh]);
    const createdAt = Date.parse((await jobs.get(ANN, fresh)).createdAt);
    expect(await list(ANN, { createdBefore: createdAt })).toEqual([]);
    expect(await list(ANN, { createdAfter: createdAt })).toEqual([fresh, again, ended]);
    expect(await refusal(list(ANN, { cursor: "bm9wZQ" }))).toBe("invalid_cursor");
  });
});

test("a window of time finds every job in it, also when replicas' clocks differ by minutes", async () => {
  const jobs = makeJobs();
  const made: string[] = [];
  for (let index = 0; index < 12; index += 1) {
    const id = await one(jobs, ANN, { tags: ["window"] });
    // As minted by a replica whose clock is up to four minutes off, one way or the other.
    const skewMs = ((index % 3) - 1) * 4 * 60_000;
    const mintedAt = timeOfId(id) - index * 3 * 60_000 + skewMs;
    const skewed = `${idStartAt(mintedAt)}${id.slice(14)}`;
    await database.db.query(
      `update jobs set id = $2, created_at = now() - make_interval(mins => $3) where id = $1`,
      [id, skewed, index * 3],
    );
    made.push(skewed);
  }
  const now = Date.now();
  const inWindow = async (fromMinutes: number, toMinutes: number): Promise<string[]> => {
    const { items } = await jobs.list(ANN, {
      statuses: [],
      tag: "window",
      order: "newest",
      limit: 100,
      createdAfter: now - fromMinutes * 60_000,
      createdBefore: now - toMinutes * 60_000,
    });
    return items.map((item) => item.id).sort();
  };
  expect(await inWindow(60, -1)).toEqual([...made].sort());
  expect(await inWindow(10, 2)).toEqual(made.slice(1, 4).sort());
  expect(await inWindow(-5, -10)).toEqual([]);
  expect(await inWindow(900, 800)).toEqual([]);
});

test("an attempt is running as soon as a renewal says so, not only when it has ended", async () => {
  const jobs = makeJobs();
  const id = await one(jobs, ANN);
  await startAttempt(id);
  const states = async (): Promise<readonly string[]> =>
    (await jobs.attempts(ANN, id)).map((attempt) => attempt.state);
  expect(await states()).toEqual(["staged"]);
  await database.db.query("update leases set phase = 'running' where job_id = $1", [id]);
  expect(await states()).toEqual(["running"]);
  await database.db.query("update leases set phase = 'collecting' where job_id = $1", [id]);
  expect(await states()).toEqual(["running"]);
});

test("the outputs of several jobs are all given, however many each has", async () => {
  const jobs = makeJobs();
  const ids = await endedJobs(jobs, 3, { hoursAgo: 0 });
  await database.db.query(
    `insert into outputs (id, job_id, attempt_id, lineage, node_id, ordinal, kind, name, media_type,
       size_bytes, sha256, temporary)
     select o.id || n, job_id, attempt_id, lineage, node_id, n, kind, name, media_type, size_bytes,
       sha256, temporary
     from outputs o, generate_series(1, 5999) n where job_id = any($1::text[])`,
    [ids.slice(0, 2)],
  );
  const outputs = await jobs.outputsOf([...ids, "job_of_nobody"]);
  expect(ids.map((id) => outputs.get(id)?.length)).toEqual([6_000, 6_000, 1]);
  expect(outputs.size).toBe(3);
});
