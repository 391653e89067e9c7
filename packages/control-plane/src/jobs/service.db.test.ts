import { HoldfastError, isHoldfastError, type ErrorCode, type SubmitJob } from "@holdfast/contract";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import type { Caller } from "../access/model.ts";
import type { Db } from "../platform/db.ts";
import { foldDeltas, readCounts, tryLockFolding } from "./count-store.ts";
import type { JobsPorts } from "./ports.ts";
import { createJobsService, type JobsService } from "./service.ts";

const ANN: Caller = { id: "key_ann", role: "user", allowedClasses: null };
const BOB: Caller = { id: "key_bob", role: "user", allowedClasses: null };
const ROOT: Caller = { id: "local", role: "admin", allowedClasses: null };

let database: TestDatabase;
let db: Db;
beforeAll(async () => {
  database = await createTestDatabase();
  db = database.db;
});
afterAll(() => database.drop());

interface Told {
  queued: number;
  revoked: string[];
}
let told: Told;
let uploaded: Map<string, string>;
let seed = 1;
beforeEach(() => {
  told = { queued: 0, revoked: [] };
  uploaded = new Map();
});

function makePorts(): JobsPorts {
  return {
    resolveInputs: (_db, _owner, names) => {
      const missing = names.filter((name) => !uploaded.has(name));
      return Promise.resolve(
        missing.length > 0
          ? { kind: "missing", names: missing }
          : {
              kind: "found",
              inputs: names.map((name) => ({
                name,
                sha256: uploaded.get(name) ?? "",
                sizeBytes: 1,
              })),
            },
      );
    },
    validateStrictly: () => Promise.resolve({ kind: "valid" }),
    declaredOutputs: () => Promise.resolve(undefined),
    checkWebhookUrl: (url) =>
      url.includes("127.0.0.1")
        ? Promise.reject(new HoldfastError("url_forbidden", "private"))
        : Promise.resolve(),
    onQueued: (requirements) => void (told.queued += requirements.length),
    onRevoked: (ids) => void told.revoked.push(...ids),
    onEvents: () => undefined,
    fleetNumbers: () =>
      Promise.resolve({
        instances: { total: 1, healthy: 1, busy: 0 },
        machines: { total: 1, online: 1 },
      }),
  };
}

function makeJobs(
  options: { maxQueuedJobs?: number; ports?: Partial<JobsPorts> } = {},
): JobsService {
  const ids = createIdSource(systemClock, seededRandom((seed += 1)));
  const { ports, ...rest } = options;
  return createJobsService({
    db,
    clock: systemClock,
    ids,
    ports: { ...makePorts(), ...ports },
    ...rest,
  });
}

function graph(seedValue = 1, model = "sd15.safetensors"): SubmitJob["graph"] {
  return {
    "1": { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: model } },
    "2": { class_type: "KSampler", inputs: { model: ["1", 0], seed: seedValue, steps: 20 } },
    "3": { class_type: "SaveImage", inputs: { images: ["2", 0], filename_prefix: "a" } },
  };
}

async function refusal(promise: Promise<unknown>): Promise<ErrorCode | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    if (isHoldfastError(error)) return error.code;
    throw error;
  }
}

/** Puts a job into `processing` with a lease, as a claim does. */
async function startAttempt(jobId: string, machineId = "mch_1"): Promise<void> {
  await db.query(
    `with c as (
       update jobs set state = 'processing', lease_epoch = lease_epoch + 1,
         attempt_count = attempt_count + 1, started_at = now() where id = $1 returning *
     ), a as (
       insert into attempts (id, job_id, number, round, lease_epoch, lineage, machine_id,
         instance_id, prompt_id)
       select 'att_' || id || attempt_count, id, attempt_count, round, lease_epoch, lineage, $2,
         'ins_1', gen_random_uuid()::text from c
     )
     insert into leases (job_id, lease_epoch, attempt_id, instance_id, machine_id, lease_until)
     select id, lease_epoch, 'att_' || id || attempt_count, 'ins_1', $2, now() + interval '1 minute'
     from c`,
    [jobId, machineId],
  );
}

async function endAttempt(jobId: string, state: "completed" | "failed"): Promise<number> {
  const { rowCount } = await db.query(
    `with j as (
       update jobs set state = $2, ended_at = now(), lease_epoch = lease_epoch + 1
       where id = $1 and state = 'processing' and lease_epoch = (
         select lease_epoch from leases where job_id = $1)
       returning id
     ), l as (delete from leases where job_id in (select id from j) returning attempt_id)
     update attempts set outcome = 'succeeded', ended_at = now()
     where id in (select attempt_id from l)`,
    [jobId, state],
  );
  return rowCount;
}

async function one(
  jobs: JobsService,
  caller: Caller,
  more: Partial<SubmitJob> = {},
): Promise<string> {
  const { jobs: made } = await jobs.submit(caller, [{ graph: graph(), ...more }]);
  return made[0]?.job.id ?? "";
}

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
    const before = await db.query("select id from graphs");
    const made = await jobs.submit(
      ANN,
      Array.from({ length: 50 }, (_, index) => ({ graph: graph(index, "shared.safetensors") })),
    );
    const graphs = await db.query("select id from graphs");
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
    const { rows } = await db.query(
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
    const { rowCount } = await db.query("select 1 from jobs where tags @> '{all-or-none}'");
    expect(rowCount).toBe(0);
  });

  test("submits that meet are written together; one that the database refuses fails alone", async () => {
    const jobs = makeJobs();
    // An id that is taken: only a broken id source does that, and only its own submit pays.
    const taken = await one(jobs, ANN);
    let calls = 0;
    const ids = createIdSource(systemClock, seededRandom(999));
    const unlucky = createJobsService({
      db,
      clock: systemClock,
      ports: makePorts(),
      ids: {
        next: (prefix) => {
          if (prefix !== "job") return ids.next(prefix);
          calls += 1;
          return (calls === 3 ? taken : ids.next(prefix)) as ReturnType<
            typeof ids.next<typeof prefix>
          >;
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
    const { rowCount } = await db.query("select 1 from jobs where id = any($1::text[])", [
      fulfilled,
    ]);
    expect(rowCount).toBe(7);
  });

  test("a remembered template that was removed meanwhile is stored again", async () => {
    const jobs = makeJobs();
    const id = await one(jobs, ANN, { graph: graph(1, "removed.safetensors") });
    const { job } = await jobs.find(ANN, id);
    await db.query("delete from jobs where graph_id = $1", [job.graphId]);
    await db.query("delete from graphs where id = $1", [job.graphId]);
    const again = await one(jobs, ANN, { graph: graph(2, "removed.safetensors") });
    expect(await jobs.graph(ANN, again)).toEqual(graph(2, "removed.safetensors"));
  });

  test("an emergency stop lets jobs in, held, and tells so", async () => {
    const jobs = makeJobs();
    await db.query(`insert into settings (key, value) values ('hold', '{"by": "ann"}')`);
    try {
      const id = await one(jobs, ANN);
      expect(await jobs.get(ANN, id)).toMatchObject({
        status: "queued",
        held: true,
        waitingReason: "held: emergency stop",
      });
      const { rows } = await db.query("select type from events where job_id = $1 order by seq", [
        id,
      ]);
      expect(rows).toEqual([{ type: "job.queued" }, { type: "job.held" }]);
      expect(told.queued).toBe(0);
    } finally {
      await db.query("delete from settings where key = 'hold'");
    }
  });

  test("a full queue refuses before anything is accepted, with Retry-After", async () => {
    const waiting = (await readCounts(db, null))
      .filter(({ state }) => state === "queued" || state === "recovering")
      .reduce((sum, count) => sum + count.jobs, 0);
    const jobs = makeJobs({ maxQueuedJobs: waiting + 5 });
    await jobs.submit(ANN, [{ graph: graph() }, { graph: graph() }, { graph: graph() }]);
    const full = jobs.submit(
      ANN,
      [1, 2, 3].map(() => ({ graph: graph(), tags: ["too-many"] })),
    );
    await expect(full).rejects.toMatchObject({ code: "queue_full", retryAfterSeconds: 5 });
    const { rowCount } = await db.query("select 1 from jobs where tags @> '{too-many}'");
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
    const withImage = (name: string): SubmitJob["graph"] => ({
      "1": { class_type: "LoadImage", inputs: { image: name } },
      "2": { class_type: "SaveImage", inputs: { images: ["1", 0], filename_prefix: "x" } },
    });
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
    expect(results.filter((result) => result?.created === true)).toHaveLength(1);
    const made = results.map((result) => result?.jobs.map(({ job }) => job.id).join());
    expect(new Set(made).size).toBe(1);
  });

  test("racing submits with one key and different bodies make one job and conflicts", async () => {
    const replicas = [makeJobs(), makeJobs()];
    const codes = await Promise.all(
      Array.from({ length: 12 }, (_, index) => {
        const jobs = replicas[index % 2];
        return jobs === undefined
          ? undefined
          : refusal(jobs.submit(ANN, [{ graph: graph(index) }], { idempotencyKey: "differ" }));
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
    const { rowCount } = await db.query("select 1 from leases where job_id = $1", [id]);
    expect(rowCount).toBe(0);
    expect(await jobs.cancel(ANN, id)).toMatchObject({ status: "cancelled" });
    const { rows } = await db.query(
      "select payload->>'by' as by from events where job_id = $1 and type = 'job.cancelled'",
      [id],
    );
    expect(rows).toEqual([{ by: ANN.id }]);
  });

  test("cancel races claim and completion: one wins, and no lease is left behind", async () => {
    const jobs = makeJobs();
    for (let round = 0; round < 25; round += 1) {
      const id = await one(jobs, ANN);
      const isRunning = round % 2 === 0;
      if (isRunning) await startAttempt(id);
      const rival = isRunning
        ? endAttempt(id, "completed")
        : db
            .transaction(async (tx) => {
              const { rowCount } = await tx.query(
                "select 1 from jobs where id = $1 and state = 'queued' for update skip locked",
                [id],
              );
              if (rowCount === 0) return;
              await tx.query(
                `with c as (update jobs set state = 'processing', lease_epoch = lease_epoch + 1,
                   attempt_count = attempt_count + 1 where id = $1 returning *)
                 insert into leases (job_id, lease_epoch, attempt_id, instance_id, machine_id,
                   lease_until)
                 select id, lease_epoch, 'att_x', 'ins_1', 'mch_1', now() from c`,
                [id],
              );
            })
            .then(() => 0);
      const [code] = await Promise.all([refusal(jobs.cancel(ANN, id)), rival]);
      const { status } = await jobs.get(ANN, id);
      expect([code, status]).toEqual(
        code === undefined ? [undefined, "cancelled"] : ["job_ended", "completed"],
      );
      const { rowCount } = await db.query("select 1 from leases where job_id = $1", [id]);
      expect(rowCount).toBe(0);
    }
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
    await db.query(
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
    await db.query(
      `update jobs set plan = '{"version": 1, "before": "nothing", "patch": {"set": []}}'
       where id = $1`,
      [id],
    );
    await jobs.retry(ANN, id);
    expect((await jobs.find(ANN, id)).job).toMatchObject({ lineage: 2, plan: null });
  });
});

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
      if (order === "newest") expect(seen).toEqual([...wanted].reverse());
      else expect(seen.slice(0, 57)).toEqual(wanted);
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
    await db.query("delete from leases where job_id = $1", [again]);
    await db.query("update jobs set state = 'queued' where id = $1", [again]);
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

describe("counts", () => {
  test("they equal the table after random changes, before and after folding", async () => {
    const jobs = makeJobs();
    const { jobs: made } = await jobs.submit(
      BOB,
      Array.from({ length: 60 }, () => ({ graph: graph(), tags: ["count"] })),
    );
    const random = seededRandom(4711);
    for (const { job } of made) {
      const dice = random.next();
      if (dice < 0.6) await startAttempt(job.id);
      if (dice < 0.2) await endAttempt(job.id, "completed");
      if (dice > 0.5) await jobs.cancel(BOB, job.id);
      if (dice > 0.9) await jobs.retry(BOB, job.id);
    }
    const truth = async (): Promise<unknown[]> =>
      (
        await db.query(
          `select owner, state, held, count(*) as jobs from jobs group by owner, state, held
           order by 1, 2, 3`,
        )
      ).rows;
    const sorted = async (): Promise<unknown[]> =>
      [...(await readCounts(db, null))].sort((a, b) =>
        `${a.owner} ${a.state} ${a.held}` < `${b.owner} ${b.state} ${b.held}` ? -1 : 1,
      );
    expect(await sorted()).toEqual(await truth());
    const folded = await db.transaction(async (tx) => {
      expect(await tryLockFolding(tx)).toBe(true);
      return await foldDeltas(tx, 10_000);
    });
    expect(folded).toBeGreaterThan(0);
    expect(await sorted()).toEqual(await truth());
    const stats = await jobs.stats(BOB);
    const own = (await readCounts(db, BOB.id)).reduce((sum, count) => sum + count.jobs, 0);
    expect(Object.values(stats.jobs).reduce((sum, n) => sum + n, 0)).toBe(own);
  });
});
