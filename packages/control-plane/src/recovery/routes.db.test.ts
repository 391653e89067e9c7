/** The error recovery API over HTTP, on a whole control plane without agents. */
import type { RecoveryStatus, RecoverySubmitted } from "@holdfast/contract";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startSystem, type TestSystem } from "../../../../test/support/system.ts";
import type { Db } from "../platform/db.ts";
import { BUILT_IN_GRAPH } from "./built-in-graph.ts";

const API = "/api/error-recovery";
let system: TestSystem;
let db: Db;
beforeAll(async () => {
  system = await startSystem({ agent: false, simulators: [] });
  db = system.controlPlane.db();
});
afterAll(() => system.close());
beforeEach(async () => {
  await db.query(
    "truncate jobs, leases, attempts, outputs, error_events, error_changes, error_counts, inventories, instances, machines, settings cascade",
  );
});

interface Answer {
  readonly status: number;
  // oxlint-disable-next-line typescript/no-explicit-any
  readonly body: any;
}

async function call(
  method: "GET" | "POST" | "DELETE",
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const answer = await fetch(`${system.url}${path}`, {
    method,
    headers: { ...(body !== undefined && { "content-type": "application/json" }), ...headers },
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  return { status: answer.status, body: await answer.json() };
}
const submit = (body: object, headers?: Readonly<Record<string, string>>) =>
  call("POST", `${API}/jobs/submit`, body, headers);
const statusOf = async (ref: number | string): Promise<RecoveryStatus> =>
  (await call("GET", `${API}/jobs/${ref}/status`)).body as RecoveryStatus;
const graphOf = async (job: RecoverySubmitted) =>
  (await call("GET", `/api/v1/jobs/${job.id}/graph`)).body as typeof BUILT_IN_GRAPH;

/** A job with an attempt that failed for lack of memory, as the scheduler writes it. */
async function failedAttempt(jobId: string, number: number, round = 1): Promise<void> {
  await db.query(
    `insert into attempts (id, job_id, number, round, lease_epoch, lineage, machine_id, instance_id,
       prompt_id, started, outcome, error, evidence, decision, ended_at)
     values ('att_' || $1::text || ($2::int)::text, $1, $2::int, $3, 1, 1, 'mch_1', 'ins_1',
       gen_random_uuid()::text, true, 'failed', $4, '{"channel": "execution", "message": "x"}', $5,
       now())`,
    [
      jobId,
      number,
      round,
      JSON.stringify({ class: "cuda_out_of_memory", strategy: "REDUCE_PARAMS" }),
      JSON.stringify({
        action: "retry",
        rule: "graph_changed",
        reason: "Reduced parameters for cuda_out_of_memory: batch 8 → 4.",
        delayMs: 0,
      }),
    ],
  );
}

/** A machine with these checkpoint models. */
async function machineWith(checkpoints: readonly string[], state = "healthy"): Promise<void> {
  await db.query(
    `insert into inventories (digest, node_classes, models, simulated, object_info)
     values ('d', '{}', $1, true, '{}')`,
    [JSON.stringify({ checkpoints })],
  );
  await db.query(
    `insert into machines (id, name, boot_id, session, state, agent_version)
     values ('mch_1', 'm', 'b', 1, 'online', 'test')`,
  );
  await db.query(
    `insert into instances (id, machine_id, key, name, state, inventory_digest)
     values ('ins_1', 'mch_1', 'k', 'i', $1, 'd')`,
    [state],
  );
}

const WORKFLOW = {
  ...BUILT_IN_GRAPH,
  "10": { class_type: "Note", inputs: { text: "" } },
};

describe("submit", () => {
  test("puts prompt and parameters in their places and answers with the job's number", async () => {
    const { status, body } = await submit({
      prompt: "a lighthouse",
      workflow_data: WORKFLOW,
      job_type: "image",
      parameters: { width: 640, num_inference_steps: 30, seed: 7, "7.text": "blurry" },
      timeout_minutes: 5,
    });
    expect(status).toBe(200);
    expect(body).toMatchObject({ success: true, status: "queued", created: true, warnings: [] });
    expect(Number.isInteger(body.job_id)).toBe(true);
    const graph = await graphOf(body as RecoverySubmitted);
    expect(graph).toMatchObject({
      "3": { inputs: { seed: 7, steps: 30, cfg: 8 } },
      "5": { inputs: { width: 640, height: 512 } },
      "6": { inputs: { text: "a lighthouse" } },
      "7": { inputs: { text: "blurry" } },
    });
    const job = await call("GET", `/api/v1/jobs/${body.job_id}`);
    expect(job.body).toMatchObject({ id: body.id, timeoutMs: 300_000 });
  });

  test("a marked prompt goes where it is marked, and nowhere else", async () => {
    const workflow = structuredClone(BUILT_IN_GRAPH) as Record<string, { inputs: object }>;
    workflow["7"] = {
      ...BUILT_IN_GRAPH["7"],
      inputs: { text: "not {{prompt}}, {{prompt}}", clip: ["4", 1] },
    };
    const { body } = await submit({ prompt: "a $& cat", workflow_data: workflow });
    expect(await graphOf(body as RecoverySubmitted)).toMatchObject({
      "6": { inputs: { text: BUILT_IN_GRAPH["6"]?.inputs["text"] } },
      "7": { inputs: { text: "not a $& cat, a $& cat" } },
    });
  });

  test("what fits nothing is told and left out", async () => {
    const { status, body } = await submit({
      prompt: "x",
      workflow_data: {
        "1": { class_type: "SaveImage", inputs: { images: ["2", 0] } },
        "2": { class_type: "EmptyImage", inputs: { color: 1 } },
      },
      parameters: { cfg: 3, nonsense: 1, "2.colour": 2, "2.color": 5 },
      priority: 3,
    });
    expect(status).toBe(200);
    expect(body.warnings).toEqual([
      expect.stringContaining("priority"),
      expect.stringContaining("cfg"),
      expect.stringContaining("nonsense"),
      expect.stringContaining("2.colour"),
      expect.stringContaining("prompt"),
    ]);
    expect(await graphOf(body as RecoverySubmitted)).toMatchObject({
      "2": { inputs: { color: 5 } },
    });
  });

  test("without a graph the built-in one runs on the checkpoint that suits it best", async () => {
    await machineWith(["sd_xl_refiner_1.0.safetensors", "sd_xl_base_1.0.safetensors"]);
    const { status, body } = await submit({ prompt: "dunes", job_type: "video" });
    expect(status).toBe(200);
    expect(body.warnings).toEqual([expect.stringContaining("video")]);
    expect(await graphOf(body as RecoverySubmitted)).toMatchObject({
      "4": { inputs: { ckpt_name: "sd_xl_base_1.0.safetensors" } },
      "5": { inputs: { width: 1024, height: 1024 } },
      "6": { inputs: { text: "dunes" } },
    });
  });

  test.each([
    ["no machine", undefined],
    ["no healthy machine", "unhealthy"],
  ])("without a graph and with %s: a clear refusal", async (_what, state) => {
    if (state !== undefined) await machineWith(["v1-5-pruned-emaonly.safetensors"], state);
    const { status, body } = await submit({ prompt: "dunes" });
    expect([status, body.success, body.error.code]).toEqual([422, false, "model_unavailable"]);
    const named = await submit({ prompt: "dunes", parameters: { model: "mine.safetensors" } });
    expect(named.status).toBe(200);
  });

  test("a repeat under one key is the same job, although a seed is drawn; another body is refused", async () => {
    await machineWith(["v1-5-pruned-emaonly.safetensors"]);
    const headers = { "idempotency-key": "c1-key" };
    const first = await submit({ prompt: "dunes" }, headers);
    const again = await submit({ prompt: "dunes" }, headers);
    expect(again.body).toMatchObject({ created: false, job_id: first.body.job_id });
    const other = await submit({ prompt: "sea" }, headers);
    expect([other.status, other.body.error.code]).toEqual([409, "idempotency_conflict"]);
  });
});

describe("status", () => {
  test("has the shape that existing scripts read, by number and by id", async () => {
    const { body } = await submit({
      prompt: "x",
      workflow_data: WORKFLOW,
      job_type: "image",
      parameters: { batch_size: 8 },
    });
    const job = body as RecoverySubmitted;
    await failedAttempt(job.id, 1);
    await db.query(
      `update jobs set state = 'recovering', attempt_count = 1, failure_count = 1,
         recovery_count = 1, run_at = now(), plan =
         '{"version": 1, "before": "nothing", "patch": {"set": [{"nodeId": "5", "input": "batch_size", "value": 4}]}}'
       where id = $1`,
      [job.id],
    );
    const open = await statusOf(job.job_id);
    expect(open).toMatchObject({
      success: true,
      job_id: job.job_id,
      data: {
        status: "recovering",
        retry_count: 1,
        recovery_history: [
          { attempt: 1, message: "Reduced parameters for cuda_out_of_memory", success: false },
        ],
        recovery_status: { total_attempts: 1, successful_attempts: 0, available_checkpoints: 0 },
        original_parameters: { batch_size: 8, width: 512 },
        parameters: { batch_size: 4, width: 512 },
        job_type: "image",
        output_files: [],
      },
    });
    expect(open.data.recovery_history[0]?.timestamp).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
    await db.query(
      `insert into attempts (id, job_id, number, round, lease_epoch, lineage, machine_id,
         instance_id, prompt_id, started, outcome, ended_at)
       values ('att_2', $1, 2, 1, 2, 1, 'mch_1', 'ins_1', 'p2', true, 'succeeded', now())`,
      [job.id],
    );
    await db.query(
      "insert into blobs (sha256, size_bytes) values (repeat('a', 64), 1) on conflict do nothing",
    );
    await db.query(
      `insert into outputs (id, job_id, attempt_id, lineage, node_id, ordinal, kind, name,
         media_type, size_bytes, sha256, temporary)
       values ('out_' || repeat('a', 26), $1, 'att_2', 1, '9', 0, 'image', 'a.png', 'image/png', 1,
         repeat('a', 64), false)`,
      [job.id],
    );
    await db.query(
      "update jobs set state = 'completed', ended_at = now(), run_at = null, attempt_count = 2 where id = $1",
      [job.id],
    );
    const done = await statusOf(job.id);
    expect(done.data).toMatchObject({
      status: "completed",
      progress: 100,
      recovery_history: [{ success: true }],
      recovery_status: { total_attempts: 1, successful_attempts: 1, available_checkpoints: 1 },
      original_parameters: { batch_size: 8 },
    });
    expect(done.data.output_files).toHaveLength(1);
  });

  test.each(["0", "-1", "99999999", "abc", "job_00000000000000000000000000"])(
    "of %s: not found, in the body that such scripts read",
    async (ref) => {
      const { status, body } = await call("GET", `${API}/jobs/${ref}/status`);
      expect([status, body.success, body.error.code]).toEqual([404, false, "not_found"]);
    },
  );
});

describe("retry", () => {
  const retry = (ref: number | string, body?: unknown) =>
    call("POST", `${API}/jobs/${ref}/retry`, body);
  const inState = async (state: string, more = ""): Promise<RecoverySubmitted> => {
    const { body } = await submit({ workflow_data: WORKFLOW });
    const hasEnded = !["queued", "processing"].includes(state);
    await db.query(
      `update jobs set state = $2, attempt_count = 1 ${hasEnded ? ", ended_at = now()" : ""} ${more}
       where id = $1`,
      [body.id, state],
    );
    return body as RecoverySubmitted;
  };

  test.each(["failed", "timeout"])("a job that is %s is queued again", async (state) => {
    const job = await inState(state);
    const { status, body } = await retry(job.job_id, { force_retry: false });
    expect(status).toBe(200);
    expect(body).toMatchObject({ success: true, job_id: job.job_id, status: "recovering" });
    expect((await statusOf(job.id)).data.retry_count).toBe(1);
  });

  test.each(["cancelled", "completed"])("one that is %s only by force", async (state) => {
    const job = await inState(state);
    const refused = await retry(job.job_id);
    expect([refused.status, refused.body.error.code]).toEqual([409, "job_ended"]);
    expect((await statusOf(job.id)).data.status).toBe(state);
    expect((await retry(job.id, { force_retry: true })).status).toBe(200);
  });

  test.each(["queued", "processing"])("one that is %s is left alone", async (state) => {
    const job = await inState(state);
    for (const force_retry of [false, true]) {
      const { status, body } = await retry(job.job_id, { force_retry });
      expect([status, body.error.code]).toEqual([409, "job_not_ended"]);
    }
    const { rows } = await db.query("select state, round from jobs where id = $1", [job.id]);
    expect(rows).toEqual([{ state, round: 1 }]);
  });

  test("past the limit only by force; the job's own limit comes first", async () => {
    const job = await inState("failed", ", round = 4");
    expect((await retry(job.id)).body.error.code).toBe("retry_limit_reached");
    expect((await retry(job.id, { force_retry: true })).status).toBe(200);
    const strict = await inState("failed", `, round = 2, policy = '{"maxRetryAttempts": 1}'`);
    const refused = await retry(strict.id);
    expect([refused.status, refused.body.error.code]).toEqual([409, "retry_limit_reached"]);
    expect((await statusOf(strict.id)).data.status).toBe("failed");
  });
});

describe("emergency stop", () => {
  const stop = () => call("POST", `${API}/emergency-stop`);
  const release = () => call("POST", `${API}/emergency-stop/release`);

  test("interrupts what runs at no cost, holds what waits, and a second one does nothing", async () => {
    const jobs = await Promise.all(
      [1, 2, 3].map(async () => (await submit({ workflow_data: WORKFLOW })).body),
    );
    const [running, recovering, waiting] = jobs as RecoverySubmitted[];
    await db.query(
      `with j as (update jobs set state = 'processing', attempt_count = 1, lease_epoch = 1
         where id = $1 returning id),
       a as (insert into attempts (id, job_id, number, round, lease_epoch, lineage, machine_id,
         instance_id, prompt_id) select 'att_r', id, 1, 1, 1, 1, 'mch_1', 'ins_1', 'p' from j)
       insert into leases (job_id, lease_epoch, attempt_id, instance_id, machine_id, lease_until)
       select id, 1, 'att_r', 'ins_1', 'mch_1', now() + interval '1 minute' from j`,
      [running?.id],
    );
    await db.query(
      "update jobs set state = 'recovering', attempt_count = 1, run_at = now() + interval '1 hour' where id = $1",
      [recovering?.id],
    );
    expect((await stop()).body).toMatchObject({
      success: true,
      stopped: true,
      interrupted: 1,
      held: 2,
    });
    expect((await stop()).body).toMatchObject({ success: true, interrupted: 0, held: 0 });
    const { rows } = await db.query(
      `select state, held, lease_epoch as epoch, failure_count as failures, execution_ms as ms
       from jobs order by id`,
    );
    const free = { held: true, failures: 0, ms: 0 };
    expect(rows).toEqual([
      { ...free, state: "queued", epoch: 2 },
      { ...free, state: "recovering", epoch: 0 },
      { ...free, state: "queued", epoch: 0 },
    ]);
    const attempts = await db.query("select outcome, decision ->> 'rule' as rule from attempts");
    expect(attempts.rows).toEqual([{ outcome: "interrupted", rule: "held" }]);
    expect((await db.query("select from leases")).rowCount).toBe(0);
    const late = await submit({ workflow_data: WORKFLOW });
    expect((await statusOf(late.body.job_id)).data).toMatchObject({
      held: true,
      waiting_reason: "held: emergency stop",
    });
    const health = (await call("GET", `${API}/health`)).body;
    expect(health).toMatchObject({ success: true, status: "degraded", emergency_stop: true });
    expect((await release()).body).toMatchObject({ success: true, stopped: false, released: 4 });
    expect((await release()).body).toMatchObject({ released: 0 });
    expect((await statusOf(waiting?.job_id ?? 0)).data.held).toBe(false);
    expect((await call("GET", `${API}/health`)).body.emergency_stop).toBe(false);
  });

  test("holds 2,000 jobs, each once and with its event, and lets all of them go", async () => {
    await submit({ workflow_data: WORKFLOW });
    await db.query(
      `insert into jobs (id, owner, state, rank, requirement_id, graph_id, timeout_ms)
       select 'job_' || lpad(n::text, 26, '0'), 'local', 'queued', n, j.requirement_id, j.graph_id,
         1000 from jobs j, generate_series(1, 1999) n`,
    );
    expect((await stop()).body).toMatchObject({ held: 2_000 });
    const events = await db.query("select distinct job_id from events where type = 'job.held'");
    expect(events.rowCount).toBeGreaterThanOrEqual(2_000);
    expect((await release()).body).toMatchObject({ released: 2_000 });
    expect((await db.query("select from jobs where held")).rowCount).toBe(0);
  });
});

describe("clean-up", () => {
  const cleanUp = (query: string) => call("DELETE", `${API}/cleanup${query}`);

  test("removes histories of jobs that ended long ago, and nothing of a live or a recent one", async () => {
    const [old, recent, live] = await Promise.all(
      [1, 2, 3].map(async () => (await submit({ workflow_data: WORKFLOW })).body),
    );
    for (const job of [old, recent, live]) await failedAttempt(job.id, 1);
    await failedAttempt(old.id, 2);
    await db.query(
      `update jobs set state = 'failed', attempt_count = 2, recovery_count = 2,
         ended_at = now() - make_interval(hours => $2) where id = $1`,
      [old.id, 30],
    );
    await db.query(
      "update jobs set state = 'failed', attempt_count = 1, ended_at = now() - interval '1 hour' where id = $1",
      [recent.id],
    );
    const { status, body } = await cleanUp("");
    expect(status).toBe(200);
    expect(body).toMatchObject({
      success: true,
      hours: 24,
      removed: { histories: 1, attempts: 2, checkpoints: 0 },
      more: false,
    });
    expect((await statusOf(old.id)).data).toMatchObject({ recovery_history: [], retry_count: 2 });
    for (const job of [recent, live]) {
      expect((await statusOf(job.id)).data.recovery_history).toHaveLength(1);
    }
    expect((await cleanUp("?hours=0")).body.removed).toMatchObject({ histories: 1, attempts: 1 });
    expect((await statusOf(live.id)).data.recovery_history).toHaveLength(1);
  });

  test.each(["-1", "abc", "1.5", "", "1e3", "9999999", "24&hours=1", "24&days=1"])(
    "hours=%s is refused, and nothing is removed",
    async (hours) => {
      const { body: job } = await submit({ workflow_data: WORKFLOW });
      await failedAttempt(job.id, 1);
      await db.query(
        "update jobs set state = 'failed', ended_at = now() - interval '9 days' where id = $1",
        [job.id],
      );
      const { status, body } = await cleanUp(`?hours=${hours}`);
      expect([status, body.success, body.error.code]).toEqual([400, false, "invalid_request"]);
      const kept = await db.query("select from attempts where evidence is not null");
      expect(kept.rowCount).toBe(1);
    },
  );
});

describe("bad input changes nothing", () => {
  const submitPath = `${API}/jobs/submit`;
  test.each([
    ["not JSON", submitPath, "{", 400, "invalid_json"],
    ["a list", submitPath, [], 400, "invalid_request"],
    ["no prompt and no graph", submitPath, {}, 400, "invalid_request"],
    ["a prompt that is a graph", submitPath, { prompt: {} }, 400, "invalid_request"],
    ["a graph that is a list", submitPath, { workflow_data: [] }, 400, "invalid_request"],
    ["an empty graph", submitPath, { workflow_data: {} }, 422, "graph_empty"],
    [
      "a graph of the editor",
      submitPath,
      { workflow_data: { nodes: [], links: [], version: 0.4, last_node_id: 1 } },
      422,
      "graph_editor_format",
    ],
    [
      "parameters that are text",
      submitPath,
      { prompt: "x", parameters: "8" },
      400,
      "invalid_request",
    ],
    [
      "width -1",
      submitPath,
      { workflow_data: WORKFLOW, parameters: { width: -1 } },
      400,
      "invalid_request",
    ],
    [
      "steps in words",
      submitPath,
      { workflow_data: WORKFLOW, parameters: { num_inference_steps: "many" } },
      400,
      "invalid_request",
    ],
    [
      "a seed below zero",
      submitPath,
      { workflow_data: WORKFLOW, parameters: { seed: -5 } },
      400,
      "invalid_request",
    ],
    [
      "a seed in hex",
      submitPath,
      { workflow_data: WORKFLOW, parameters: { seed: "0x10" } },
      400,
      "invalid_request",
    ],
    [
      "half a picture",
      submitPath,
      { workflow_data: WORKFLOW, parameters: { batch_size: 1.5 } },
      400,
      "invalid_request",
    ],
    [
      "1,001 parameters",
      submitPath,
      {
        workflow_data: WORKFLOW,
        parameters: Object.fromEntries(Array.from({ length: 1_001 }, (_, n) => [`${n}.x`, n])),
      },
      400,
      "invalid_request",
    ],
    [
      "a model that is a number",
      submitPath,
      { workflow_data: WORKFLOW, parameters: { model: 5 } },
      400,
      "invalid_request",
    ],
    [
      "no time",
      submitPath,
      { workflow_data: WORKFLOW, timeout_minutes: 0 },
      400,
      "invalid_request",
    ],
    [
      "negative time",
      submitPath,
      { workflow_data: WORKFLOW, timeout_minutes: -30 },
      400,
      "invalid_request",
    ],
    [
      "time in words",
      submitPath,
      { workflow_data: WORKFLOW, timeout_minutes: "30" },
      400,
      "invalid_request",
    ],
    ["a retry by text", `${API}/jobs/1/retry`, { force_retry: "yes" }, 400, "invalid_request"],
    [
      "a retry with an unknown field",
      `${API}/jobs/1/retry`,
      { retries: -1 },
      400,
      "invalid_request",
    ],
    ["a plan without an error", `${API}/plan`, {}, 400, "invalid_request"],
    [
      "a plan with evidence of the wrong kind",
      `${API}/plan`,
      { error: { message: "x", exceptionType: 5 } },
      400,
      "invalid_request",
    ],
    [
      "a plan for a job that is not there",
      `${API}/plan`,
      { error: "x", job_id: 4_000 },
      404,
      "not_found",
    ],
    [
      "a plan under negative retries",
      `${API}/plan`,
      { error: "x", policy: { maxRetryAttempts: -1 } },
      400,
      "invalid_request",
    ],
    [
      "a plan with a graph that is none",
      `${API}/plan`,
      { error: "x", workflow_data: {} },
      400,
      "invalid_request",
    ],
  ])("%s", async (_what, path, body, status, code) => {
    const answer = await call("POST", path, body);
    expect([answer.status, answer.body.success, answer.body.error.code]).toEqual([
      status,
      false,
      code,
    ]);
    expect((await db.query("select from jobs")).rowCount).toBe(0);
    expect((await db.query("select from settings where key like 'hold%'")).rowCount).toBe(0);
  });

  test("an unknown window of statistics, and an unknown path", async () => {
    const window = await call("GET", `${API}/statistics/detailed?window=2h`);
    expect([window.status, window.body.success]).toEqual([400, false]);
    const path = await call("GET", `${API}/nothing`);
    expect([path.status, path.body.success, path.body.error.code]).toEqual([
      404,
      false,
      "not_found",
    ]);
    const elsewhere = await call("GET", "/api/v1/nothing");
    expect(elsewhere.body).not.toHaveProperty("success");
  });
});

test("a plan says what would be done, as far as the policy allows", async () => {
  const error = {
    channel: "execution",
    exceptionType: "torch.OutOfMemoryError",
    message: "Allocation on device",
  };
  const all = await call("POST", `${API}/plan`, { error });
  expect(all.body).toMatchObject({
    success: true,
    class: "cuda_out_of_memory",
    strategy: "REDUCE_PARAMS",
  });
  const rungs = (answer: Answer) => answer.body.steps.map((step: { rung: string }) => step.rung);
  expect(rungs(all)).toContain("reduce_params");
  const careful = await call("POST", `${API}/plan`, { error, policy: { maxLoss: "none" } });
  expect(rungs(careful)).toContain("free_memory");
  expect(rungs(careful)).not.toContain("reduce_params");
  const { body: job } = await submit({ workflow_data: WORKFLOW });
  await db.query(`update jobs set policy = '{"maxLoss": "none"}' where id = $1`, [job.id]);
  const ofJob = await call("POST", `${API}/plan`, {
    error: "CUDA out of memory",
    job_id: job.job_id,
  });
  // Its own graph is known, and there is no batch to split in it.
  expect(rungs(ofJob)).toEqual(["free_memory"]);
  expect(ofJob.body.skipped).toContainEqual(expect.objectContaining({ rung: "split_batch" }));
});
