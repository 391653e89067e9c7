import {
  batchPageSchema,
  batchSchema,
  bookPageDetailSchema,
  bookPageListSchema,
  createdBatchSchema,
  regeneratedBookSchema,
  regeneratedSchema,
} from "@holdfast/contract";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import {
  book,
  createBatchesKit,
  jobsOf,
  statesOf,
  type BatchesKit,
  type Replica,
} from "../../testing/batches-kit.ts";
import { ANN } from "../../testing/jobs-kit.ts";
import { TEST_ACCESS } from "../../testing/test-access.ts";
import { buildHttpServer, type HttpServer } from "../platform/http/server.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { addBatchRoutes } from "./routes.ts";

const OWNER = `${ANN.id}/user`;
const OTHER = "key_other/user";
const OPERATOR = "key_op/operator";
const ADMIN = "key_admin/admin";
const AGENT = "key_agent/agent";

let kit: BatchesKit;
let replica: Replica;
let server: HttpServer;
beforeAll(async () => {
  kit = await createBatchesKit();
  replica = kit.replica();
  const ids = createIdSource(systemClock, seededRandom(3));
  const limits = { bodyLimitBytes: 10_000_000 };
  server = buildHttpServer({ log: SILENT_LOG, clock: systemClock, ids, ...limits });
  addBatchRoutes(server.app, {
    identify: (request, roles) => TEST_ACCESS.identify(request as never, roles),
    batches: replica.batches,
  });
});
afterAll(async () => {
  await server.close();
  await kit.close();
});
beforeEach(() => kit.clear());

type Method = "GET" | "POST" | "PATCH" | "DELETE";

async function call(method: Method, url: string, payload?: object, as = OWNER, headers = {}) {
  const answer = await server.app.inject({
    method,
    url,
    headers: { "x-test-caller": as, ...headers },
    ...(payload !== undefined && { payload }),
  });
  const body = answer.body === "" ? {} : answer.json<Record<string, unknown>>();
  const error = body["error"] as { code: string; message: string } | undefined;
  return { status: answer.statusCode, code: error?.code, body, headers: answer.headers };
}

/** A batch of three pages, of which the last two are flagged. */
async function flaggedBatch(): Promise<{ readonly id: string; readonly number: number }> {
  const made = await call("POST", "/api/v1/batches", book(3, { maxRetries: 0 }));
  const { batch } = createdBatchSchema.parse(made.body);
  await replica.settle();
  const jobs = await jobsOf(replica, batch.id);
  await kit.end(jobs.slice(0, 1));
  await kit.end(jobs.slice(1), { state: "failed" });
  await replica.settle();
  return batch;
}

it("a batch is made, looked at, changed and removed over HTTP, as the contract says", async () => {
  const key = { "idempotency-key": "once" };
  const made = await call("POST", "/api/v1/batches", book(3, { window: 1 }), OWNER, key);
  expect(made.status).toBe(201);
  const { batch } = createdBatchSchema.parse(made.body);
  expect(made.headers["location"]).toBe(`/api/v1/batches/${batch.id}`);
  const again = await call("POST", "/api/v1/batches", book(3, { window: 1 }), OWNER, key);
  expect(again).toMatchObject({ status: 200, body: { created: false, batch: { id: batch.id } } });
  const url = `/api/v1/batches/${batch.number}`;
  expect(batchSchema.parse((await call("GET", url)).body)).toEqual(batch);
  const listed = batchPageSchema.parse((await call("GET", "/api/v1/batches?status=running")).body);
  expect(listed.items.map(({ id }) => id)).toEqual([batch.id]);
  const pages = bookPageListSchema.parse((await call("GET", `${url}/pages?limit=2`)).body);
  expect(pages).toMatchObject({ items: [{ page: 1 }, { page: 2 }], next: "2" });
  const rest = await call("GET", `${url}/pages?limit=2&cursor=${pages.next}`);
  expect(bookPageListSchema.parse(rest.body)).toMatchObject({ items: [{ page: 3 }], next: null });
  expect(await call("GET", `${url}/pages?cursor=x`)).toMatchObject({
    status: 400,
    code: "invalid_cursor",
  });
  const page = bookPageDetailSchema.parse((await call("GET", `${url}/pages/3`)).body);
  expect(page).toMatchObject({ page: 3, badge: "Pending", versions: [{ version: 1 }] });
  expect(await call("GET", `${url}/pages/4`)).toMatchObject({ status: 404, code: "not_found" });
  expect(await call("PATCH", url, { priority: 3 })).toMatchObject({
    status: 200,
    body: { priority: 3 },
  });
  expect(await call("POST", `${url}/pause`)).toMatchObject({ body: { status: "paused" } });
  expect(await call("POST", `${url}/resume`)).toMatchObject({ body: { status: "running" } });
  expect(await call("DELETE", url)).toMatchObject({ status: 409, code: "batch_not_ended" });
  expect(await call("POST", `${url}/cancel`)).toMatchObject({ body: { status: "cancelled" } });
  await replica.settle();
  expect((await call("DELETE", url)).status).toBe(204);
  expect((await call("GET", url)).status).toBe(404);
});

it("unknown keys of a request are refused and nothing is made", async () => {
  const wrong = { ...book(1), pagess: [] };
  expect(await call("POST", "/api/v1/batches", wrong)).toMatchObject({
    status: 400,
    code: "invalid_request",
  });
  expect((await call("GET", "/api/v1/batches")).body).toEqual({ items: [], next: null });
});

it("pages are rendered anew over HTTP", async () => {
  const { id } = await flaggedBatch();
  const url = `/api/v1/batches/${id}`;
  expect(await call("POST", `${url}/regenerate`, { pages: [1] })).toMatchObject({
    status: 409,
    code: "page_busy",
  });
  const all = regeneratedSchema.parse((await call("POST", `${url}/regenerate`)).body);
  expect(all).toMatchObject({ regenerated: [2, 3], batch: { id, status: "running" } });
  const one = await call("POST", `${url}/pages/1/regenerate`, { seed: 9 });
  expect(regeneratedSchema.parse(one.body)).toMatchObject({ regenerated: [1] });
});

it("a user renders the failed pages of a book of his own anew", async () => {
  const { id, number } = await flaggedBatch();
  for (const book_id of [String(number), id]) {
    const answer = await call("POST", `/books/${book_id}/regenerate`);
    expect(answer.status).toBe(200);
    const regenerated = book_id === id ? [] : [2, 3];
    expect(regeneratedBookSchema.strict().parse(answer.body)).toEqual({
      success: true,
      book_id,
      regenerated,
    });
  }
  await replica.settle();
  expect(await statesOf(replica, id)).toBe("1 done, 2 rendering, 3 rendering");
});

it("a book of somebody else is not there for a user", async () => {
  const { id } = await flaggedBatch();
  expect(await call("POST", `/books/${id}/regenerate`, undefined, OTHER)).toMatchObject({
    status: 404,
    code: "not_found",
  });
  expect(await call("GET", `/api/v1/batches/${id}`, undefined, OTHER)).toMatchObject({
    status: 404,
  });
  expect(await call("GET", `/api/v1/batches/${id}`, undefined, AGENT)).toMatchObject({
    status: 403,
  });
});

it("one page of any book is rendered anew by an admin or operator, by nobody else", async () => {
  const { id, number } = await flaggedBatch();
  const url = `/admin/books/${number}/regenerate-page/2`;
  expect(await call("POST", url, undefined, OWNER)).toMatchObject({
    status: 403,
    code: "forbidden",
  });
  const body = { seed: 41, overrides: { "2.steps": 3 } };
  const answer = await call("POST", url, body, OPERATOR);
  expect(regeneratedBookSchema.strict().parse(answer.body)).toEqual({
    success: true,
    book_id: String(number),
    regenerated: [2],
  });
  const other = await call("POST", `/admin/books/${id}/regenerate-page/3`, undefined, ADMIN);
  expect(other).toMatchObject({ status: 200, body: { book_id: id, regenerated: [3] } });
  await replica.settle();
  const [, second = ""] = await jobsOf(replica, id);
  expect(await replica.jobs.graph(ANN, second)).toMatchObject({
    "2": { inputs: { seed: 41, steps: 3 } },
  });
  expect(await call("POST", url, undefined, ADMIN)).toMatchObject({
    status: 409,
    code: "page_busy",
  });
  const missing = await call("POST", `/admin/books/${id}/regenerate-page/9`, undefined, ADMIN);
  expect(missing).toMatchObject({ status: 404, code: "not_found" });
});

it("a refusal names the page as people count it, and says what a page number is", async () => {
  const pages = [{}, {}, { seed: -1 }];
  const refused = await call("POST", "/api/v1/batches", { ...book(3), pages });
  expect(refused).toMatchObject({
    status: 400,
    code: "invalid_request",
    body: {
      error: {
        message: "page 3: body.pages.2.seed: expected a number of at least 0",
        details: { problems: [{ field: "body.pages.2.seed", page: 3 }] },
      },
    },
  });
  for (const url of [
    "/admin/books/1/regenerate-page/abc",
    "/api/v1/batches/1/pages/0/regenerate",
  ]) {
    const answer = await call("POST", url, undefined, ADMIN);
    expect(answer).toMatchObject({ status: 400, code: "invalid_request" });
    expect((answer.body["error"] as { message: string }).message).toMatch(
      /^params\.page: expected the number of a page, from 1, such as 7; found "(abc|0)"\. GET/,
    );
  }
});
