/** Stopping everything, cleaning up, and bad input, over HTTP. */
import type { RecoverySubmitted } from "@holdfast/contract";
import { describe, expect, test } from "vitest";
import {
  API,
  call,
  db,
  failedAttempt,
  statusOf,
  submit,
  useRecoveryApi,
  WORKFLOW,
} from "../../testing/recovery-api.ts";

useRecoveryApi();

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
