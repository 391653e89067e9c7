/** Submit, status, retry and plan, over HTTP. */
import type { RecoverySubmitted } from "@holdfast/contract";
import { describe, expect, test } from "vitest";
import {
  API,
  call,
  db,
  failedAttempt,
  graphOf,
  machineWith,
  statusOf,
  submit,
  useRecoveryApi,
  WORKFLOW,
  type Answer,
} from "../../testing/recovery-api.ts";
import { BUILT_IN_GRAPH } from "./built-in-graph.ts";

useRecoveryApi();

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
