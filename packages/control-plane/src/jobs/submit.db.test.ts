import type { ErrorCode, SubmitJob } from "@holdfast/contract";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { createJobsKit, ANN, BOB, graph, withImage, refusal } from "../../testing/jobs-kit.ts";
import { readCounts } from "./count-store.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
const { told, uploaded, makeJobs, one } = createJobsKit(() => database.db);
beforeEach(() => {
  told.queued = 0;
  told.revoked.length = 0;
  uploaded.clear();
});

describe("submit", () => {
  test("a submitted job reads back as it was answered, graph exactly as sent", async () => {
    const jobs = makeJobs();
    const sent = { ...graph(7), "9": { class_type: "PreviewImage", inputs: { images: ["2", 0] } } };
    const submitted = await jobs.submit(ANN, [
      {
        graph: sent,
        set: { "2.seed": "18446744073709551615" },
        tags: ["a", "a", "b"],
        metadata: { page: 3 },
        priority: 5,
        name: "page 3",
        batchId: "book",
        timeoutMs: 5000,
        policy: { maxLoss: "none" },
      },
    ]);
    const made = submitted.jobs[0]?.job;
    expect(submitted.created).toBe(true);
    const read = (await jobs.find(ANN, made?.id ?? "")).job;
    expect(read).toEqual(made);
    expect(await jobs.get(ANN, String(made?.number))).toMatchObject({
      id: made?.id,
      status: "queued",
      tags: ["a", "b"],
      metadata: { page: 3 },
      priority: 5,
      timeoutMs: 5000,
    });
    const ran = await jobs.graph(ANN, made?.id ?? "");
    expect(JSON.stringify(ran)).toBe(
      JSON.stringify(sent).replace('"seed":7', '"seed":"18446744073709551615"'),
    );
    expect(told.queued).toBe(1);
  });

  test("jobs that differ in seed share one template and one requirement", async () => {
    const jobs = makeJobs();
    const before = await database.db.query("select id from graphs");
    const made = await jobs.submit(
      ANN,
      Array.from({ length: 50 }, (_, index) => ({ graph: graph(index, "shared.safetensors") })),
    );
    const graphs = await database.db.query("select id from graphs");
    expect(graphs.rowCount).toBe(before.rowCount + 1);
    expect(new Set(made.jobs.map(({ job }) => job.requirementId)).size).toBe(1);
  });

  test("a thousand jobs in one submit are all there, in order, with an event each", async () => {
    const jobs = makeJobs();
    const { jobs: made } = await jobs.submit(
      ANN,
      Array.from({ length: 1000 }, (_, index) => ({ graph: graph(index), batchId: "thousand" })),
    );
    expect(made).toHaveLength(1000);
    const numbers = made.map(({ job }) => job.number);
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    const { rows } = await database.db.query(
      `select count(*)::int as events, count(distinct j.rank)::int as ranks from jobs j
       join events e on e.job_id = j.id and e.type = 'job.queued' where j.batch_id = 'thousand'`,
    );
    expect(rows).toEqual([{ events: 1000, ranks: 1000 }]);
  });

  test("of many jobs a wrong one refuses all, and says which", async () => {
    const jobs = makeJobs();
    const promise = jobs.submit(ANN, [
      { graph: graph(), tags: ["all-or-none"] },
      { graph: { "1": { class_type: "SaveImage", inputs: { images: ["404", 0] } } } },
    ]);
    await expect(promise).rejects.toMatchObject({
      code: "graph_dangling_link",
      details: { index: 1 },
    });
    const { rowCount } = await database.db.query(
      "select 1 from jobs where tags @> '{all-or-none}'",
    );
    expect(rowCount).toBe(0);
  });

  test("submits that meet are written together; one that the database refuses fails alone", async () => {
    const jobs = makeJobs();
    // An id that is taken: only a broken id source does that, and only its own submit pays.
    const taken = await one(jobs, ANN);
    let calls = 0;
    const ids = createIdSource(systemClock, seededRandom(999));
    const unlucky = makeJobs({
      ids: {
        next: (prefix) => {
          if (prefix !== "job") return ids.next(prefix);
          calls += 1;
          return calls === 3
            ? (taken as ReturnType<typeof ids.next<typeof prefix>>)
            : ids.next(prefix);
        },
      },
    });
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, () => unlucky.submit(ANN, [{ graph: graph() }])),
    );
    expect(results.filter((result) => result.status === "rejected")).toHaveLength(1);
    const fulfilled = results.flatMap((result) =>
      result.status === "fulfilled" ? (result.value.jobs[0]?.job.id ?? []) : [],
    );
    const { rowCount } = await database.db.query("select 1 from jobs where id = any($1::text[])", [
      fulfilled,
    ]);
    expect(rowCount).toBe(7);
  });

  test("a remembered template that was removed meanwhile is stored again", async () => {
    const jobs = makeJobs();
    const id = await one(jobs, ANN, { graph: graph(1, "removed.safetensors") });
    const { job } = await jobs.find(ANN, id);
    await database.db.query("delete from jobs where graph_id = $1", [job.graphId]);
    await database.db.query("delete from graphs where id = $1", [job.graphId]);
    const again = await one(jobs, ANN, { graph: graph(2, "removed.safetensors") });
    expect(await jobs.graph(ANN, again)).toEqual(graph(2, "removed.safetensors"));
  });

  test("an emergency stop lets jobs in, held, and tells so", async () => {
    const jobs = makeJobs();
    await database.db.query(`insert into settings (key, value) values ('hold', '{"by": "ann"}')`);
    try {
      const id = await one(jobs, ANN);
      expect(await jobs.get(ANN, id)).toMatchObject({
        status: "queued",
        held: true,
        waitingReason: "held: emergency stop",
      });
      const { rows } = await database.db.query(
        "select type from events where job_id = $1 order by seq",
        [id],
      );
      expect(rows).toEqual([{ type: "job.queued" }, { type: "job.held" }]);
      expect(told.queued).toBe(0);
    } finally {
      await database.db.query("delete from settings where key = 'hold'");
    }
  });

  test("a full queue refuses before anything is accepted, with Retry-After", async () => {
    const waiting = (await readCounts(database.db, null))
      .filter(({ state }) => state === "queued" || state === "recovering")
      .reduce((sum, count) => sum + count.jobs, 0);
    const jobs = makeJobs({ maxQueuedJobs: waiting + 5 });
    await jobs.submit(ANN, [{ graph: graph() }, { graph: graph() }, { graph: graph() }]);
    const full = jobs.submit(
      ANN,
      [1, 2, 3].map(() => ({ graph: graph(), tags: ["too-many"] })),
    );
    await expect(full).rejects.toMatchObject({ code: "queue_full", retryAfterSeconds: 5 });
    const { rowCount } = await database.db.query("select 1 from jobs where tags @> '{too-many}'");
    expect(rowCount).toBe(0);
    // Concurrent submits cannot pass the limit together.
    const results = await Promise.all(
      Array.from({ length: 10 }, () => refusal(jobs.submit(ANN, [{ graph: graph() }]))),
    );
    expect(results.filter((code) => code === undefined)).toHaveLength(2);
    expect(results.filter((code) => code === "queue_full")).toHaveLength(8);
  });

  test("files, classes, urls and names are checked before anything is written", async () => {
    const jobs = makeJobs();
    const codeOf = (request: SubmitJob, caller = ANN): Promise<ErrorCode | undefined> =>
      refusal(jobs.submit(caller, [request]));
    expect(await codeOf({ graph: withImage("absent.png") })).toBe("input_missing");
    expect(await codeOf({ graph: withImage("../../etc/passwd") })).toBe("invalid_file_name");
    expect(await codeOf({ graph: withImage("made.png [output]") })).toBeUndefined();
    expect(await codeOf({ graph: graph() }, { ...ANN, allowedClasses: ["SaveImage"] })).toBe(
      "node_class_forbidden",
    );
    expect(await codeOf({ graph: graph(), webhook: { url: "http://127.0.0.1/" } })).toBe(
      "url_forbidden",
    );
    expect(
      await codeOf({ graph: graph(), webhook: { url: "https://a.example/", events: ["job.x"] } }),
    ).toBe("invalid_request");
    uploaded.set("here.png", "f".repeat(64));
    const { jobs: made } = await jobs.submit(ANN, [{ graph: withImage("here.png") }]);
    expect(made[0]?.job.inputs).toEqual([
      { nodeId: "1", input: "image", name: "here.png", sha256: "f".repeat(64), sizeBytes: 1 },
    ]);
  });

  test("strict validation refuses what no machine would accept, lenient lets it wait", async () => {
    const issue = {
      type: "value_not_in_list",
      nodeId: "1",
      classType: "CheckpointLoaderSimple",
      input: "ckpt_name",
      message: "not in list",
      isCertain: true,
      dependentOutputs: [],
    } as const;
    const jobs = makeJobs({
      ports: { validateStrictly: () => Promise.resolve({ kind: "invalid", issues: [issue] }) },
    });
    await expect(
      jobs.submit(ANN, [{ graph: graph() }], { validate: "strict" }),
    ).rejects.toMatchObject({ code: "graph_invalid", details: { issues: [issue] } });
    expect((await jobs.submit(ANN, [{ graph: graph() }])).created).toBe(true);
  });

  test("a graph whose outputs only a machine can tell is taken with a warning, or refused by one", async () => {
    const unknown = { "1": { class_type: "MyPackSaver", inputs: {} } };
    const { warnings } = await makeJobs().submit(ANN, [{ graph: unknown }]);
    expect(warnings).toHaveLength(1);
    const declared = { nodeId: "1", classType: "MyPackSaver", kind: "any" } as const;
    const knowing = makeJobs({ ports: { declaredOutputs: () => Promise.resolve([declared]) } });
    const { jobs: made } = await knowing.submit(ANN, [{ graph: unknown }]);
    expect(made[0]?.job.promised).toEqual([declared]);
    const none = makeJobs({ ports: { declaredOutputs: () => Promise.resolve([]) } });
    expect(await refusal(none.submit(ANN, [{ graph: unknown }]))).toBe("graph_no_outputs");
  });
});

describe("idempotency", () => {
  test("the same key and body give the same job, another body is refused, another caller is free", async () => {
    const jobs = makeJobs();
    const options = { idempotencyKey: "k1" };
    const first = await jobs.submit(ANN, [{ graph: graph(1), name: "x" }], options);
    const again = await jobs.submit(ANN, [{ name: "x", graph: graph(1) }], options);
    expect(again.created).toBe(false);
    expect(again.jobs[0]?.job.id).toBe(first.jobs[0]?.job.id);
    expect(await refusal(jobs.submit(ANN, [{ graph: graph(2) }], options))).toBe(
      "idempotency_conflict",
    );
    expect((await jobs.submit(BOB, [{ graph: graph(2) }], options)).created).toBe(true);
  });

  test("racing submits with one key make one job, over two replicas", async () => {
    const replicas = [makeJobs(), makeJobs()];
    const results = await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        replicas[index % 2]?.submit(ANN, [{ graph: graph() }, { graph: graph(2) }], {
          idempotencyKey: "race",
        }),
      ),
    );
    expect(results.filter((result) => result?.created)).toHaveLength(1);
    const made = results.map((result) => result?.jobs.map(({ job }) => job.id).join());
    expect(new Set(made).size).toBe(1);
  });

  test("racing submits with one key and different bodies make one job and conflicts", async () => {
    const replicas = [makeJobs(), makeJobs()];
    const codes = await Promise.all(
      Array.from({ length: 12 }, async (_, index) => {
        const submitted = replicas[index % 2]?.submit(ANN, [{ graph: graph(index) }], {
          idempotencyKey: "differ",
        });
        return await refusal(Promise.resolve(submitted));
      }),
    );
    expect(codes.filter((code) => code === undefined)).toHaveLength(1);
    expect(codes.filter((code) => code === "idempotency_conflict")).toHaveLength(11);
  });

  test("a repeat works when the queue is full and the input is gone", async () => {
    uploaded.set("soon-gone.png", "a".repeat(64));
    const request: SubmitJob = {
      graph: {
        "1": { class_type: "LoadImage", inputs: { image: "soon-gone.png" } },
        "2": { class_type: "PreviewImage", inputs: { images: ["1", 0] } },
      },
    };
    const first = await makeJobs().submit(ANN, [request], { idempotencyKey: "gone" });
    uploaded.clear();
    const again = await makeJobs({ maxQueuedJobs: 0 }).submit(ANN, [request], {
      idempotencyKey: "gone",
    });
    expect(again.jobs.map(({ job }) => job.id)).toEqual(first.jobs.map(({ job }) => job.id));
  });
});
