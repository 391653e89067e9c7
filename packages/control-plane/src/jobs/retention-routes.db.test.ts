import type { JobView } from "@holdfast/contract";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { PLAIN_GRAPH, startJobsServer, type JobsServer } from "../../testing/jobs-server.ts";

let database: TestDatabase;
let server: JobsServer;
beforeAll(async () => {
  database = await createTestDatabase();
  server = await startJobsServer(database.db);
});
afterAll(async () => {
  await server.close();
  await database.drop();
});

/** What retention does to a job, in effect. */
const remove = (...ids: string[]): Promise<unknown> =>
  database.db.query("delete from jobs where id = any($1::text[])", [ids]);

describe("a job that was removed", () => {
  test("is not found on any of its routes", async () => {
    const job = await server.submit();
    await server.complete(job);
    await remove(job.id);
    for (const ref of [job.id, String(job.number)]) {
      for (const part of ["", "/attempts", "/outputs", "/graph", "/events", "/wait"]) {
        const answer = await server.call("GET", `/api/v1/jobs/${ref}${part}`);
        expect([part, answer.status, answer.body.error?.code]).toEqual([part, 404, "not_found"]);
      }
      for (const deed of ["cancel", "retry"]) {
        const answer = await server.call("POST", `/api/v1/jobs/${ref}/${deed}`, {});
        expect([deed, answer.status, answer.body.error?.code]).toEqual([deed, 404, "not_found"]);
      }
    }
  });

  test("is told apart from one that never was where that can be known: by its age", async () => {
    const told = async (ref: string): Promise<string | undefined> =>
      (await server.call("GET", `/api/v1/jobs/${ref}`)).body.error?.message;
    const young = await server.submit();
    await remove(young.id);
    expect(await told(young.id)).toBe(`there is no job ${young.id}`);
    expect(await told("job_01hf7yat0000000000000000aa")).toBe(
      "there is no job job_01hf7yat0000000000000000aa, or not any more: completed and cancelled jobs are removed 30 days after their end, failed ones after 90 days",
    );
    expect(await told(String(young.number))).toContain("or not any more");
  });

  test("is answered 410 to a repeat of the submit that made it", async () => {
    const key = { "idempotency-key": "once" };
    const job = await server.submit({}, key);
    const again = await server.call("POST", "/api/v1/jobs", submitBody(), key);
    expect(again.status).toBe(200);
    await server.complete(job);
    await remove(job.id);
    const { status, body } = await server.call("POST", "/api/v1/jobs", submitBody(), key);
    expect([status, body.error?.code]).toEqual([410, "job_removed"]);
    expect(body.error?.details).toEqual({ jobIds: [job.id] });
    // Another body under that key is still a mistake of another kind.
    const other = await server.call("POST", "/api/v1/jobs", submitBody({ name: "x" }), key);
    expect(other.body.error?.code).toBe("idempotency_conflict");
  });

  test("of many under one key is named; the others are there", async () => {
    const key = { "idempotency-key": "many" };
    const many = { jobs: [submitBody({ name: "a" }), submitBody({ name: "b" })] };
    const made = await server.call("POST", "/api/v1/jobs", many, key);
    const [a, b] = made.body["jobs"] as JobView[];
    await remove(b?.id ?? "");
    const { status, body } = await server.call("POST", "/api/v1/jobs", many, key);
    expect([status, body.error?.details]).toEqual([410, { jobIds: [b?.id] }]);
    expect((await server.call("GET", `/api/v1/jobs/${a?.id}`)).status).toBe(200);
  });

  test("leaves no hole in a list that is being read", async () => {
    const made: JobView[] = [];
    for (let index = 0; index < 9; index += 1) made.push(await server.submit({ batchId: "list" }));
    const page = async (cursor: string | null) =>
      (
        await server.call(
          "GET",
          `/api/v1/jobs?batchId=list&limit=3${cursor === null ? "" : `&cursor=${cursor}`}`,
        )
      ).body as unknown as { items: JobView[]; next: string | null };
    const first = await page(null);
    // The one that the cursor stands on, and the next one.
    await remove(made[6]?.id ?? "", made[5]?.id ?? "");
    const second = await page(first.next);
    const third = await page(second.next);
    expect([...first.items, ...second.items, ...third.items].map((job) => job.id)).toEqual(
      [8, 7, 6, 4, 3, 2, 1, 0].map((at) => made[at]?.id),
    );
    expect(third.next).toBeNull();
  });

  test("ends a wait and a stream that were held open for it", async () => {
    const job = await server.submit();
    const waiting = server.call("GET", `/api/v1/jobs/${job.id}/wait?timeoutMs=60000`);
    const stream = await fetch(`http://127.0.0.1:${server.port}/api/v1/jobs/${job.id}/events`, {
      headers: { accept: "text/event-stream" },
      signal: AbortSignal.timeout(20_000),
    });
    const reading = stream.text();
    await expect
      .poll(async () => (await server.call("GET", `/api/v1/jobs/${job.id}/events`)).status)
      .toBe(200);
    await remove(job.id);
    expect((await waiting).status).toBe(404);
    expect(await reading).toContain("job.queued");
  });

  test("is counted, beside how long jobs are kept", async () => {
    const before = (await server.call("GET", "/api/v1/stats")).body;
    const job = await server.submit();
    await remove(job.id);
    const { body } = await server.call("GET", "/api/v1/stats");
    expect(body["removed"]).toBe((before["removed"] as number) + 1);
    expect(body["retention"]).toEqual({ endedJobHours: 720, failedJobHours: 2_160 });
  });
});

function submitBody(more: object = {}): object {
  return { graph: PLAIN_GRAPH, ...more };
}
