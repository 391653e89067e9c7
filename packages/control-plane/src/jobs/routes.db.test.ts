import type { JobView } from "@holdfast/contract";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import {
  PLAIN_GRAPH,
  startJobsServer,
  type Answer,
  type JobsServer,
} from "../../testing/jobs-server.ts";

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

describe("submit", () => {
  test("one job is created with its address, many are answered in order", async () => {
    const one = await server.call("POST", "/api/v1/jobs", { graph: PLAIN_GRAPH, name: "first" });
    expect(one.status).toBe(201);
    const job = one.body["job"] as JobView;
    expect(one.headers["location"]).toBe(`/api/v1/jobs/${job.id}`);
    expect(one.body).toMatchObject({ created: true, warnings: [], job: { name: "first" } });
    const many = await server.call("POST", "/api/v1/jobs", {
      jobs: ["a", "b", "c"].map((name) => ({ graph: PLAIN_GRAPH, name })),
    });
    expect(many.status).toBe(201);
    expect((many.body["jobs"] as JobView[]).map(({ name }) => name)).toEqual(["a", "b", "c"]);
    expect((await server.call("GET", `/api/v1/jobs/${job.number}`)).body).toEqual(job);
  });

  test("a repeat under the same key is 200 with the same job; another body is a conflict", async () => {
    const headers = { "idempotency-key": "route-key" };
    const first = await server.submit({ name: "k" }, headers);
    const again = await server.call(
      "POST",
      "/api/v1/jobs",
      { name: "k", graph: PLAIN_GRAPH },
      headers,
    );
    expect(again).toMatchObject({ status: 200, body: { created: false, job: { id: first.id } } });
    const other = await server.call(
      "POST",
      "/api/v1/jobs",
      { name: "l", graph: PLAIN_GRAPH },
      headers,
    );
    expect(other).toMatchObject({ status: 409, body: { error: { code: "idempotency_conflict" } } });
  });

  test("a seed beyond 2^53 keeps its digits", async () => {
    const { body } = await server.call(
      "POST",
      "/api/v1/jobs",
      `{"graph": {"1": {"class_type": "KSampler", "inputs": {"seed": 18446744073709551615}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}}}`,
    );
    const graph = await server.call("GET", `/api/v1/jobs/${(body["job"] as JobView).id}/graph`);
    expect(graph.body).toMatchObject({ "1": { inputs: { seed: "18446744073709551615" } } });
  });
});

function node(inputs: object, class_type = "SaveImage"): object {
  return { class_type, inputs };
}

describe("bad input", () => {
  const deep = `${"[".repeat(200)}${"]".repeat(200)}`;
  const editor = { last_node_id: 3, last_link_id: 2, nodes: [], links: [], version: 0.4 };
  const cases: readonly (readonly [what: string, body: unknown, status: number, code: string])[] = [
    ["not JSON", "{graph: 1}", 400, "invalid_json"],
    ["an empty body", "", 400, "invalid_request"],
    ["a list", [], 400, "invalid_request"],
    ["no graph", { name: "x" }, 400, "invalid_request"],
    ["an unknown field", { graph: PLAIN_GRAPH, grph: 1 }, 400, "invalid_request"],
    ["a graph that is text", { graph: "1" }, 422, "graph_not_object"],
    ["a graph that is a list", { graph: [PLAIN_GRAPH] }, 422, "graph_not_object"],
    ["a graph that is null", { jobs: [{ graph: null }] }, 422, "graph_not_object"],
    ["an empty graph", { graph: {} }, 422, "graph_empty"],
    ["a graph without nodes", { graph: { hello: 1 } }, 422, "graph_bad_node"],
    ["an editor's workflow", { graph: editor }, 422, "graph_editor_format"],
    ["an editor's workflow as the body", editor, 422, "graph_editor_format"],
    ["a graph as the body", PLAIN_GRAPH, 400, "invalid_request"],
    ["ComfyUI's own request", { prompt: PLAIN_GRAPH }, 400, "invalid_request"],
    ["a node without class", { graph: { "1": { inputs: {} } } }, 422, "graph_bad_node"],
    [
      "a link to nowhere",
      { graph: { "1": node({ images: ["9", 0] }) } },
      422,
      "graph_dangling_link",
    ],
    [
      "a link of the wrong type",
      { graph: { "1": node({ images: ["1", "0"] }) } },
      422,
      "graph_bad_link",
    ],
    ["a circle", { graph: { "1": node({ images: ["1", 0] }) } }, 422, "graph_cyclic"],
    [
      "too deep",
      `{"graph": {"1": {"class_type": "SaveImage", "inputs": {"a": ${deep}}}}}`,
      422,
      "graph_too_deep",
    ],
    ["no outputs", { graph: { "1": PLAIN_GRAPH["1"] } }, 422, "graph_no_outputs"],
    [
      "an override that fits nothing",
      { graph: PLAIN_GRAPH, set: { "1.seed": 1 } },
      422,
      "override_unmatched",
    ],
    [
      "an override that is no place",
      { graph: PLAIN_GRAPH, set: { seed: 1 } },
      422,
      "override_unmatched",
    ],
    [
      "an override that makes a circle",
      { graph: PLAIN_GRAPH, set: { "1.width": ["2", 0] } },
      422,
      "graph_cyclic",
    ],
    [
      "a missing input file",
      { graph: { ...PLAIN_GRAPH, "3": node({ image: "no.png" }, "LoadImage") } },
      422,
      "input_missing",
    ],
    [
      "an input that climbs out",
      { graph: { ...PLAIN_GRAPH, "3": node({ image: "../a.png" }, "LoadImage") } },
      400,
      "invalid_file_name",
    ],
    [
      "an absolute input",
      { graph: { ...PLAIN_GRAPH, "3": node({ image: "/etc/a.png" }, "LoadImage") } },
      400,
      "invalid_file_name",
    ],
    [
      "a prefix that climbs out",
      { graph: { ...PLAIN_GRAPH, "3": node({ images: ["1", 0], filename_prefix: "a/../../b" }) } },
      400,
      "invalid_file_name",
    ],
    [
      "a webhook into a private network",
      { graph: PLAIN_GRAPH, webhook: { url: "http://10.0.0.1/" } },
      422,
      "url_forbidden",
    ],
    ["a NUL in a name", { graph: PLAIN_GRAPH, name: "a\0b" }, 400, "invalid_request"],
    [
      "half a surrogate pair",
      `{"graph": ${JSON.stringify(PLAIN_GRAPH)}, "tags": ["\\ud800"]}`,
      400,
      "invalid_request",
    ],
    [
      "metadata too large",
      { graph: PLAIN_GRAPH, metadata: { a: "x".repeat(20_000) } },
      400,
      "invalid_request",
    ],
    [
      "metadata too deep",
      `{"graph": ${JSON.stringify(PLAIN_GRAPH)}, "metadata": {"a": ${deep}}}`,
      400,
      "invalid_request",
    ],
    [
      "too many jobs",
      { jobs: Array.from({ length: 1001 }, () => ({ graph: PLAIN_GRAPH })) },
      400,
      "invalid_request",
    ],
    [
      "a queue over its limit",
      { jobs: Array.from({ length: 1000 }, () => ({ graph: PLAIN_GRAPH })) },
      429,
      "queue_full",
    ],
  ];
  test.each(cases.filter(([, , , code]) => code !== "queue_full"))(
    "%s is refused",
    async (_what, body, status, code) => {
      const answer = await server.call("POST", "/api/v1/jobs", body);
      expect([answer.status, answer.body.error?.code]).toEqual([status, code]);
    },
  );

  test("a graph larger than the limit is refused, and so is a body over the server's", async () => {
    const large = Object.fromEntries(
      Array.from({ length: 5_001 }, (_, index) => [`n${index}`, node({})]),
    );
    expect((await server.call("POST", "/api/v1/jobs", { graph: large })).body.error?.code).toBe(
      "graph_too_large",
    );
    const huge = await server.call("POST", "/api/v1/jobs", { graph: { a: "x".repeat(5_000_000) } });
    expect([huge.status, huge.body.error?.code]).toEqual([413, "body_too_large"]);
  });

  test("a message names the field, the job and what to do", async () => {
    const wrong = await server.call("POST", "/api/v1/jobs", {
      jobs: [{ graph: PLAIN_GRAPH }, { graph: PLAIN_GRAPH, priority: 900 }],
    });
    expect(wrong.body.error?.message).toContain("body.jobs.1.priority");
    const missing = await server.call("POST", "/api/v1/jobs", {
      graph: { ...PLAIN_GRAPH, "3": node({ image: "no.png" }, "LoadImage") },
    });
    expect(missing.body.error?.message).toMatch(/node 3.*no\.png.*\/api\/v1\/files/);
    const raw = await server.call("POST", "/api/v1/jobs", PLAIN_GRAPH);
    expect(raw.body.error?.message).toContain('{"graph"');
  });

  test("keys, types, parameters and ids that make no sense are 4xx", async () => {
    const job = await server.submit();
    const cases: readonly (readonly [Promise<Answer>, number, string])[] = [
      [
        server.call(
          "POST",
          "/api/v1/jobs",
          { graph: PLAIN_GRAPH },
          { "idempotency-key": "x".repeat(300) },
        ),
        400,
        "invalid_request",
      ],
      [
        server.call("POST", "/api/v1/jobs", { graph: PLAIN_GRAPH }, { "idempotency-key": " " }),
        400,
        "invalid_request",
      ],
      [
        server.call("POST", "/api/v1/jobs", "a=1", { "content-type": "text/csv" }),
        415,
        "unsupported_media_type",
      ],
      [
        server.call("POST", "/api/v1/jobs?validate=maybe", { graph: PLAIN_GRAPH }),
        400,
        "invalid_request",
      ],
      [
        server.call("POST", "/api/v1/jobs?validate=strict", { graph: PLAIN_GRAPH }),
        422,
        "graph_invalid",
      ],
      [
        server.call("POST", "/api/v1/jobs", { graph: PLAIN_GRAPH }, { "x-caller": "bob" }),
        403,
        "node_class_forbidden",
      ],
      [server.call("GET", "/api/v1/jobs/job_00000000000000000000000000"), 404, "not_found"],
      [server.call("GET", "/api/v1/jobs/123456789"), 404, "not_found"],
      [server.call("GET", "/api/v1/jobs/nonsense"), 404, "not_found"],
      [
        server.call("GET", `/api/v1/jobs/${job.id}`, undefined, { "x-caller": "bob" }),
        404,
        "not_found",
      ],
      [
        server.call("POST", `/api/v1/jobs/${job.id}/cancel`, undefined, { "x-caller": "bob" }),
        404,
        "not_found",
      ],
      [
        server.call("GET", "/api/v1/jobs", undefined, { "x-caller": "nobody" }),
        401,
        "unauthorized",
      ],
      [server.call("GET", "/api/v1/jobs?status=done"), 400, "invalid_request"],
      [server.call("GET", "/api/v1/jobs?limit=0"), 400, "invalid_request"],
      [server.call("GET", "/api/v1/jobs?limit=501"), 400, "invalid_request"],
      [server.call("GET", "/api/v1/jobs?cursor=abc"), 400, "invalid_cursor"],
      [server.call("GET", "/api/v1/jobs?createdAfter=yesterday"), 400, "invalid_request"],
      [server.call("GET", `/api/v1/jobs/${job.id}/events?cursor=abc`), 400, "invalid_cursor"],
      [server.call("GET", "/api/v1/events?types=job.exploded"), 400, "invalid_request"],
      [server.call("POST", `/api/v1/jobs/${job.id}/retry`, {}), 409, "job_not_ended"],
      [server.call("POST", "/api/v1/jobs/cancel", {}), 400, "invalid_request"],
      [server.call("POST", `/api/v1/jobs/${job.id}`, {}), 405, "method_not_allowed"],
    ];
    for (const [promise, status, code] of cases) {
      const answer = await promise;
      expect([answer.status, answer.body.error?.code]).toEqual([status, code]);
    }
  });

  test("nothing of a refused submit was stored", async () => {
    const before = await database.db.query("select count(*)::int as n from jobs");
    for (const [, body] of cases.slice(0, -1)) await server.call("POST", "/api/v1/jobs", body);
    const after = await database.db.query("select count(*)::int as n from jobs");
    expect(after.rows).toEqual(before.rows);
  });

  test("a full queue is 429 with Retry-After, a cancel of an ended job 409", async () => {
    const jobs = Array.from({ length: 1000 }, () => ({ graph: PLAIN_GRAPH, batchId: "flood" }));
    let full: Answer | undefined;
    for (let round = 0; round < 7 && full === undefined; round += 1) {
      const answer = await server.call("POST", "/api/v1/jobs", { jobs });
      if (answer.status !== 201) full = answer;
    }
    expect(full).toMatchObject({ status: 429, body: { error: { code: "queue_full" } } });
    expect(Number(full?.headers["retry-after"])).toBeGreaterThan(0);
    const cancelled = await server.call("POST", "/api/v1/jobs/cancel", { batchId: "flood" });
    expect(Number(cancelled.body["cancelled"])).toBeGreaterThanOrEqual(3000);
    const { rows } = await database.db.query(
      "select count(*)::int as n from jobs where state = 'queued' and batch_id = 'flood'",
    );
    expect(rows).toEqual([{ n: 0 }]);
  });
});

describe("a job's routes", () => {
  test("cancel is repeatable; a completed job refuses it and is retried by force only", async () => {
    const job = await server.submit();
    for (let round = 0; round < 2; round += 1) {
      const answer = await server.call("POST", `/api/v1/jobs/${job.id}/cancel`);
      expect(answer).toMatchObject({ status: 200, body: { status: "cancelled" } });
    }
    expect(await server.call("POST", `/api/v1/jobs/${job.id}/retry`)).toMatchObject({
      status: 200,
      body: { status: "queued" },
    });
    await server.complete(job);
    expect((await server.call("POST", `/api/v1/jobs/${job.id}/cancel`)).body.error?.code).toBe(
      "job_ended",
    );
    expect((await server.call("POST", `/api/v1/jobs/${job.id}/retry`)).body.error?.code).toBe(
      "job_ended",
    );
    const forced = await server.call("POST", `/api/v1/jobs/${job.id}/retry`, { force: true });
    expect(forced.status).toBe(200);
  });

  test("attempts, outputs, graph, timeline and numbers are there", async () => {
    const job = await server.submit({ set: { "1.width": 128 }, tags: ["seen"] });
    expect((await server.call("GET", `/api/v1/jobs/${job.id}/attempts`)).body).toEqual({
      attempts: [],
    });
    expect((await server.call("GET", `/api/v1/jobs/${job.id}/outputs`)).body).toEqual({
      outputs: [],
    });
    expect((await server.call("GET", `/api/v1/jobs/${job.id}/graph`)).body).toMatchObject({
      "1": { inputs: { width: 128 } },
    });
    await server.call("POST", `/api/v1/jobs/${job.id}/cancel`);
    const first = await server.call("GET", `/api/v1/jobs/${job.id}/events?limit=1`);
    expect(first.body).toMatchObject({
      items: [{ type: "job.queued", data: { jobId: job.id, number: job.number } }],
    });
    const second = await server.call(
      "GET",
      `/api/v1/jobs/${job.id}/events?cursor=${String(first.body["next"])}`,
    );
    expect(second.body).toMatchObject({ items: [{ type: "job.cancelled" }], next: null });
    expect(
      (await server.call("GET", "/api/v1/jobs?tag=seen&status=queued,cancelled")).body,
    ).toMatchObject({
      items: [{ id: job.id }],
      next: null,
    });
    expect((await server.call("GET", "/api/v1/stats")).status).toBe(200);
  });

  test("a wait is woken by the end, and answers the job as it is when its time is over", async () => {
    const job = await server.submit();
    const early = await server.call("GET", `/api/v1/jobs/${job.id}/wait?timeoutMs=1`);
    expect(early.body).toMatchObject({ status: "queued" });
    const startedAt = performance.now();
    const waiting = server.call("GET", `/api/v1/jobs/${job.id}/wait?timeoutMs=20000`);
    await server.complete(job);
    expect((await waiting).body).toMatchObject({ id: job.id, status: "completed" });
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect((await server.call("GET", `/api/v1/jobs/${job.id}/wait`)).body).toMatchObject({
      status: "completed",
    });
  });
});
