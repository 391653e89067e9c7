import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { HoldfastError } from "@holdfast/contract";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import { Webhook } from "standardwebhooks";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { createGuardedFetch, type GuardedFetch } from "../access/guarded-fetch.ts";
import type { Role } from "../access/model.ts";
import type { Access } from "../access/service.ts";
import { parseUrlRules } from "../access/url-rules.ts";
import { buildHttpServer, type HttpServer } from "../platform/http/server.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { appendEvents, readEventsAfter, FIRST_CURSOR } from "../platform/outbox.ts";
import { createDeliverer, type Deliverer } from "./deliverer.ts";
import { fanOut } from "./fan-out.ts";
import { RETRY_DELAYS_MS } from "./logic.ts";
import { createWebhookLoops } from "./loop.ts";
import { MAX_TRIES_PER_HOST } from "./model.ts";
import { webhookRoutes } from "./routes.ts";
import { createWebhookService, type WebhookService } from "./service.ts";

/** A request as the target saw it. */
interface Seen {
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void;
const ok: Answer = (_request, response) => response.end();
const status =
  (code: number): Answer =>
  (_request, response) =>
    response.writeHead(code).end();
/** Reads the whole request, then cuts the connection: did it arrive? Nobody can tell. */
const drop: Answer = (request) => request.socket.destroy();

let database: TestDatabase;
let clock: FakeClock;
let target: Server;
let base: string;
let seen: Seen[];
let answer: Answer;
let fetcher: GuardedFetch;
let webhooks: WebhookService;
let deliverer: Deliverer;
let server: HttpServer;
let dueCalls: number;
const ids = createIdSource(systemClock, seededRandom(5));

const access: Access = {
  hasKeys: async () => true,
  async identify(request, allowed) {
    const [id = "", role = ""] = String(request.headers["x-test-caller"] ?? "key_a/user").split(
      "/",
    );
    if (!allowed.includes(role as Role)) throw new HoldfastError("forbidden", "wrong role");
    return { id, role: role as Role, allowedClasses: null };
  },
};

beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await database.db.query(
    "truncate webhook_endpoints, webhook_deliveries, events, event_cursors, jobs, requirements, graphs, api_keys, settings cascade",
  );
  clock = createFakeClock(systemClock.now());
  seen = [];
  answer = ok;
  target = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const body = Buffer.concat(parts).toString();
      seen.push({ path: request.url ?? "", headers: request.headers, body });
      answer(request, response);
    });
  });
  await new Promise<void>((resolve) => target.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(target.address() as AddressInfo).port}`;
  fetcher = createGuardedFetch({ clock, rules: parseUrlRules("127.0.0.1") });
  const databaseNow = (): number => clock.now();
  const common = { db: database.db, ids, clock, fetch: fetcher, databaseNow };
  dueCalls = 0;
  webhooks = createWebhookService({ ...common, onDue: () => (dueCalls += 1) });
  deliverer = createDeliverer({ ...common, random: seededRandom(2), log: SILENT_LOG });
  server = buildHttpServer({ log: SILENT_LOG, clock: systemClock, ids, bodyLimitBytes: 100_000 });
  await server.app.register(webhookRoutes, { access, webhooks });
});
afterEach(async () => {
  await server.close();
  await fetcher.close();
  target.closeAllConnections();
  if (target.listening) await new Promise((resolve) => target.close(resolve));
});

const never = new AbortController().signal;
/** Tries everything that is due, and waits for it. Returns how many tries there were. */
async function deliverDue(): Promise<number> {
  let total = 0;
  for (;;) {
    const started = await deliverer.startDue(never);
    await deliverer.idle();
    if (started === 0) return total;
    total += started;
  }
}

async function tell(
  type = "job.completed",
  options: { owner?: string; jobId?: string | null } = {},
): Promise<string> {
  const id = ids.next("evt");
  const { owner = "key_a", jobId = null } = options;
  await database.db.transaction((tx) =>
    appendEvents(tx, [{ id, type, version: 1, owner, jobId, payload: { jobId, number: 7 } }]),
  );
  await spread();
  return id;
}

/** What the consumer of the outbox does, from the first event on: also a second time. */
async function spread(): Promise<void> {
  const events = await readEventsAfter(database.db, FIRST_CURSOR, 100);
  await database.db.transaction((tx) => fanOut(tx, events, ids, clock.now()));
}

const endpoint = (owner = "key_a", eventTypes: string[] = [], path = "/hook") =>
  webhooks.create(owner, { url: base + path, eventTypes });
const deliveries = async (owner: string | null = null) =>
  (await webhooks.listDeliveries({ owner }, { cursor: null, limit: 100 })).items;

async function insertJob(owner: string, webhook: unknown): Promise<string> {
  const job = ids.next("job");
  await database.db.query(
    `with r as (insert into requirements (hash, needs) values ($1, '{}') returning id),
       g as (insert into graphs (hash, body, node_count, size_bytes) values ($1, '{}', 1, 2) returning id)
     insert into jobs (id, owner, state, rank, requirement_id, graph_id, timeout_ms, webhook)
     select $1, $2, 'queued', 1, r.id, g.id, 1000, $3 from r, g`,
    [job, owner, JSON.stringify(webhook)],
  );
  return job;
}

describe("who is told", () => {
  test("an endpoint is told its owner's events of its types, once", async () => {
    await endpoint("key_a", ["job.completed"]);
    await endpoint("key_b");
    const told = await tell("job.completed");
    await tell("job.queued");
    await spread();
    await spread();
    expect((await deliveries()).map((one) => one.eventId)).toEqual([told]);
  });

  test("administrators' endpoints are told everybody's events, until their key is revoked", async () => {
    await database.db.query(
      `insert into api_keys (id, name, role, secret_hash, revoked_at) values
         ('key_admin', 'a', 'admin', 'h1', null), ('key_gone', 'b', 'admin', 'h2', now()),
         ('key_user', 'c', 'user', 'h3', null)`,
    );
    for (const owner of ["key_admin", "key_gone", "key_user", "local"]) await endpoint(owner);
    await tell("job.failed", { owner: "key_a" });
    expect((await deliveries()).map((one) => one.owner).sort()).toEqual(["key_admin", "local"]);
  });

  test("a job's own webhook is told how the job ended, or what it asks for", async () => {
    const plain = await insertJob("key_a", { url: `${base}/plain` });
    const picky = await insertJob("key_a", { url: `${base}/picky`, events: ["job.queued"] });
    for (const jobId of [plain, picky]) {
      for (const type of ["job.queued", "attempt.started", "job.timeout"]) {
        await tell(type, { jobId });
      }
    }
    const told = (await deliveries()).map((one) => `${one.jobId} ${one.eventType} ${one.url}`);
    expect(told.sort()).toEqual([
      `${plain} job.timeout ${base}/plain`,
      `${picky} job.queued ${base}/picky`,
    ]);
  });

  test("a disabled endpoint is told nothing more", async () => {
    const { endpoint: made } = await endpoint();
    await tell();
    await webhooks.update(made.id, "key_a", { enabled: false });
    await tell();
    expect(await deliveries()).toMatchObject([
      { state: "dead", lastError: "the endpoint was disabled" },
    ]);
  });
});

describe("delivery", () => {
  test("a message is signed with the endpoint's secret and carries the event", async () => {
    const { secret } = await endpoint();
    const id = await tell("job.completed");
    expect(await deliverDue()).toBe(1);
    const request = seen[0];
    if (request === undefined) throw new Error("nothing arrived");
    expect(new Webhook(secret).verify(request.body, request.headers as never)).toMatchObject({
      type: "job.completed",
      id,
      version: 1,
      timestamp: expect.stringMatching(/Z$/),
      data: { number: 7 },
    });
    expect(request.headers["webhook-id"]).toBe(id);
    expect(request.headers["content-type"]).toBe("application/json");
    expect(await deliveries()).toMatchObject([
      { state: "delivered", attemptCount: 1, lastStatus: 200, lastError: null },
    ]);
    expect(await deliverDue()).toBe(0);
  });

  test("a job's own webhook is signed with the deployment's secret, the same for good", async () => {
    const jobId = await insertJob("key_a", { url: `${base}/own` });
    await tell("job.failed", { jobId });
    await deliverDue();
    const secret = await webhooks.jobSecret();
    const request = seen[0];
    expect(() =>
      new Webhook(secret).verify(request?.body ?? "", request?.headers as never),
    ).not.toThrow();
    expect(await webhooks.jobSecret()).toBe(secret);
  });

  test("a target that is down for ten minutes is told when it is back, under the same id", async () => {
    await endpoint();
    const id = await tell();
    answer = status(503);
    const until = clock.now() + 10 * 60_000;
    while (clock.now() < until) {
      await deliverDue();
      await clock.advance(1_000);
    }
    const failures = seen.length;
    expect(failures).toBeGreaterThanOrEqual(4);
    expect(await deliveries()).toMatchObject([{ state: "pending", lastStatus: 503 }]);
    answer = ok;
    await clock.advance(15 * 60_000);
    await deliverDue();
    expect(await deliveries()).toMatchObject([{ state: "delivered", attemptCount: failures + 1 }]);
    expect(new Set(seen.map((request) => request.headers["webhook-id"]))).toEqual(new Set([id]));
    const stamps = seen.map((request) => request.headers["webhook-timestamp"]);
    expect(new Set(stamps).size).toBe(stamps.length);
  });

  test("a target that refuses connections for five seconds is told after them", async () => {
    await endpoint();
    await tell();
    const { port } = target.address() as AddressInfo;
    await new Promise((resolve) => target.close(resolve));
    await deliverDue();
    expect(await deliveries()).toMatchObject([
      { state: "pending", lastError: "the connection was refused", lastStatus: null },
    ]);
    await new Promise<void>((resolve) => target.listen(port, "127.0.0.1", resolve));
    await clock.advance(6_000);
    await deliverDue();
    expect(await deliveries()).toMatchObject([{ state: "delivered", attemptCount: 2 }]);
  });

  test("a target that reads everything and drops the connection is told again, same id", async () => {
    await endpoint();
    const id = await tell();
    answer = drop;
    await deliverDue();
    answer = ok;
    await clock.advance(6_000);
    await deliverDue();
    expect(seen.map((request) => request.headers["webhook-id"])).toEqual([id, id]);
    expect(seen[0]?.body).toBe(seen[1]?.body);
    expect(await deliveries()).toMatchObject([{ state: "delivered" }]);
  });

  test("a target that never answers is left after its ten seconds", async () => {
    await endpoint();
    await tell();
    let arrived = (): void => undefined;
    const asked = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    answer = () => arrived();
    await deliverer.startDue(never);
    await asked;
    await clock.advance(10_001);
    await deliverer.idle();
    expect(await deliveries()).toMatchObject([
      { state: "pending", lastError: "no answer within 10 s" },
    ]);
  });

  test("a redirect is not followed: a signed body goes where it was meant to go", async () => {
    await endpoint();
    await tell();
    answer = (_request, response) => response.writeHead(307, { location: "/other" }).end();
    await deliverDue();
    expect(seen).toHaveLength(1);
    expect(await deliveries()).toMatchObject([{ state: "pending", lastStatus: 307 }]);
  });

  test("a target that moved into a private network is not called", async () => {
    const { endpoint: made } = await endpoint();
    await tell();
    await database.db.query(
      "update webhook_endpoints set url = 'http://169.254.169.254/' where id = $1",
      [made.id],
    );
    await deliverDue();
    expect(await deliveries()).toMatchObject([
      { state: "pending", lastError: expect.stringContaining("169.254.169.254") },
    ]);
  });

  test("410 disables the endpoint and ends what is on its way to it", async () => {
    const { endpoint: made } = await endpoint();
    await tell();
    await tell();
    answer = status(410);
    await deliverer.startDue(never);
    await deliverer.idle();
    expect((await webhooks.get(made.id, "key_a")).enabled).toBe(false);
    expect(new Set((await deliveries()).map((one) => one.state))).toEqual(new Set(["dead"]));
    await clock.advance(3_600_000);
    expect(await deliverDue()).toBe(0);
  });

  test("after its last try a message is a dead letter; a replay starts anew under the same id", async () => {
    await endpoint();
    const id = await tell();
    answer = status(500);
    for (let tries = 0; tries <= RETRY_DELAYS_MS.length; tries += 1) {
      await deliverDue();
      await clock.advance(15 * 3_600_000);
    }
    expect(seen).toHaveLength(RETRY_DELAYS_MS.length + 1);
    const [dead] = await deliveries();
    expect(dead).toMatchObject({ state: "dead", lastStatus: 500, endedAt: expect.any(Number) });
    expect(await deliverDue()).toBe(0);
    await webhooks.replay(dead?.id ?? "", "key_a");
    expect(dueCalls).toBe(1);
    await deliverDue();
    expect(await deliveries()).toMatchObject([{ state: "pending", attemptCount: 1 }]);
    answer = ok;
    await clock.advance(6_000);
    await deliverDue();
    expect(await deliveries()).toMatchObject([{ state: "delivered" }]);
    await webhooks.replay(dead?.id ?? "", "key_a");
    await deliverDue();
    expect(seen.at(-1)?.headers["webhook-id"]).toBe(id);
  });

  test("replicas that look at the same time make each try once", async () => {
    await endpoint();
    for (let n = 0; n < 20; n += 1) await tell();
    const others = Array.from({ length: 4 }, () =>
      createDeliverer({
        db: database.db,
        clock,
        random: seededRandom(1),
        log: SILENT_LOG,
        fetch: fetcher,
        databaseNow: () => clock.now(),
      }),
    );
    for (let round = 0; round < 10; round += 1) {
      await Promise.all(others.map((one) => one.startDue(never)));
      await Promise.all(others.map((one) => one.idle()));
    }
    const received = seen.map((request) => request.headers["webhook-id"]);
    expect(received).toHaveLength(20);
    expect(new Set(received).size).toBe(20);
  });

  test("a slow host holds only its own few tries, and others go on", async () => {
    await endpoint("key_a", [], "/slow");
    for (let n = 0; n < 12; n += 1) await tell();
    const waiting: ServerResponse[] = [];
    answer = (_request, response) => void waiting.push(response);
    while ((await deliverer.startDue(never)) > 0);
    await expect.poll(() => waiting.length).toBe(MAX_TRIES_PER_HOST);
    const quick = base.replace("127.0.0.1", "localhost");
    await database.db.query(
      `insert into webhook_deliveries (id, owner, event_id, event_type, url, payload, next_at)
       values ('whd_x', 'key_a', 'evt_x', 'job.failed', $1, '{}', to_timestamp($2))`,
      [quick, clock.now() / 1000],
    );
    expect(await deliverer.startDue(never)).toBe(1);
    answer = ok;
    for (const response of waiting) response.end();
    await deliverer.idle();
    await deliverDue();
  });

  test("a try that a crash cut off is made again when its claim ends", async () => {
    await endpoint();
    await tell();
    await database.db.query(
      `update webhook_deliveries set attempt_count = 1,
         claimed_until = to_timestamp($1) + interval '60 seconds'`,
      [clock.now() / 1000],
    );
    expect(await deliverDue()).toBe(0);
    await clock.advance(60_000);
    expect(await deliverDue()).toBe(1);
    expect(await deliveries()).toMatchObject([{ state: "delivered", attemptCount: 2 }]);
  });

  test("a try that we break off when stopping costs nothing", async () => {
    await endpoint();
    await tell();
    const stopping = new AbortController();
    answer = () => stopping.abort(new Error("stopping"));
    await deliverer.startDue(stopping.signal);
    await deliverer.idle();
    expect(await deliveries()).toMatchObject([{ state: "pending", attemptCount: 0 }]);
    answer = ok;
    expect(await deliverDue()).toBe(1);
  });
});

test("the loops carry an event from the outbox to its target, and stop", async () => {
  await endpoint();
  const loops = createWebhookLoops({
    db: database.db,
    clock: systemClock,
    random: seededRandom(1),
    log: SILENT_LOG,
    ids,
    fetch: fetcher,
    pollEveryMs: 20,
  });
  for (const loop of [loops.fanOut, loops.deliver, loops.prune]) await loop.start();
  // The reader begins with what is told after its first look.
  await expect
    .poll(async () => (await database.db.query("select from event_cursors")).rows.length)
    .toBe(1);
  const id = ids.next("evt");
  await database.db.transaction((tx) =>
    appendEvents(tx, [
      { id, type: "job.failed", version: 1, owner: "key_a", payload: { number: 1 } },
    ]),
  );
  await expect
    .poll(() => seen.map((request) => request.headers["webhook-id"]), { timeout: 10_000 })
    .toEqual([id]);
  for (const loop of [loops.prune, loops.deliver, loops.fanOut]) await loop.stop();
  expect(await deliveries()).toMatchObject([{ state: "delivered" }]);
});

describe("routes", () => {
  const inject = (
    method: "GET" | "POST" | "PATCH" | "DELETE",
    url: string,
    payload?: object,
    as = "key_a/user",
  ) =>
    server.app.inject({
      method,
      url,
      headers: { "x-test-caller": as },
      ...(payload === undefined ? {} : { payload }),
    });

  test("an endpoint is made, its secret shown once, changed, pinged and deleted", async () => {
    const made = await inject("POST", "/api/v1/webhooks", { url: `${base}/hook` });
    expect(made.statusCode).toBe(201);
    const { endpoint: shown, secret } = made.json<{ endpoint: { id: string }; secret: string }>();
    expect(secret).toMatch(/^whsec_/);
    const url = `/api/v1/webhooks/${shown.id}`;
    for (const answerOf of [
      await inject("GET", url),
      await inject("GET", "/api/v1/webhooks"),
      await inject("PATCH", url, { eventTypes: ["job.failed"] }),
    ]) {
      expect(answerOf.statusCode).toBe(200);
      expect(answerOf.body).not.toContain("whsec_");
    }
    const ping = await inject("POST", `${url}/ping`);
    expect(ping.statusCode).toBe(202);
    expect(ping.json()).toMatchObject({ eventType: "webhook.ping", state: "pending" });
    await deliverDue();
    expect(
      new Webhook(secret).verify(seen[0]?.body ?? "", seen[0]?.headers as never),
    ).toMatchObject({
      type: "webhook.ping",
    });
    const renewed = (await inject("POST", `${url}/secret`)).json<{ secret: string }>();
    expect(renewed.secret).not.toBe(secret);
    expect((await inject("DELETE", url)).statusCode).toBe(204);
    expect((await inject("GET", url)).statusCode).toBe(404);
    expect(await deliveries()).toEqual([]);
  });

  test("endpoints and deliveries of others are not there", async () => {
    const { endpoint: made } = await endpoint("key_a");
    await tell();
    const [delivery] = await deliveries();
    for (const [method, url, body] of [
      ["GET", `/api/v1/webhooks/${made.id}`, undefined],
      ["PATCH", `/api/v1/webhooks/${made.id}`, { enabled: false }],
      ["DELETE", `/api/v1/webhooks/${made.id}`, undefined],
      ["POST", `/api/v1/webhooks/${made.id}/ping`, undefined],
      ["POST", `/api/v1/webhooks/${made.id}/secret`, undefined],
      ["GET", `/api/v1/webhook-deliveries/${delivery?.id}`, undefined],
      ["POST", `/api/v1/webhook-deliveries/${delivery?.id}/replay`, undefined],
    ] as const) {
      const stranger = await inject(method, url, body, "key_b/user");
      expect([url, stranger.statusCode]).toEqual([url, 404]);
    }
    const list = await inject("GET", "/api/v1/webhook-deliveries", undefined, "key_b/user");
    expect(list.json()).toEqual({ items: [], next: null });
    const all = await inject("GET", "/api/v1/webhook-deliveries", undefined, "key_o/operator");
    expect(all.json<{ items: unknown[] }>().items).toHaveLength(1);
  });

  test("deliveries are listed by state, job and endpoint, in pages", async () => {
    const { endpoint: made } = await endpoint("key_a");
    const jobId = await insertJob("key_a", null);
    await tell("job.completed", { jobId });
    await tell("job.failed");
    answer = status(410);
    await deliverDue();
    const list = async (query: string) =>
      (await inject("GET", `/api/v1/webhook-deliveries?${query}`)).json<{
        items: { id: string }[];
        next: string | null;
      }>();
    expect((await list("state=dead")).items).toHaveLength(2);
    expect((await list("state=pending")).items).toHaveLength(0);
    expect((await list(`jobId=${jobId}`)).items).toHaveLength(1);
    expect((await list(`endpointId=${made.id}`)).items).toHaveLength(2);
    const first = await list("limit=1");
    const second = await list(`limit=1&cursor=${first.next}`);
    expect(second.next).toBeNull();
    expect(second.items[0]?.id).not.toBe(first.items[0]?.id);
  });

  test("the deployment's secret is for administrators", async () => {
    const url = "/api/v1/webhook-secret";
    expect((await inject("GET", url)).statusCode).toBe(403);
    expect((await inject("GET", url, undefined, "local/admin")).json()).toEqual({
      secret: expect.stringMatching(/^whsec_/),
    });
  });

  test.each([
    [{ url: "http://10.0.0.1/" }, 422, "url_forbidden"],
    [{ url: "http://localhost.localdomain:99999/" }, 422, "url_forbidden"],
    [{ url: "ftp://a.example/" }, 422, "url_forbidden"],
    [{ url: "https://a.example/", eventTypes: ["job.exploded"] }, 400, "invalid_request"],
    [{ eventTypes: [] }, 400, "invalid_request"],
  ])("%j is %i %s", async (body, code, name) => {
    const refused = await inject("POST", "/api/v1/webhooks", body);
    expect(refused.statusCode).toBe(code);
    expect(refused.json()).toMatchObject({ error: { code: name } });
  });

  test("a caller has a bounded number of endpoints", async () => {
    await database.db.query(
      `insert into webhook_endpoints (id, owner, url, secret)
       select 'whe_' || n, 'key_a', 'http://127.0.0.1/', 's' from generate_series(1, 50) as n`,
    );
    const refused = await inject("POST", "/api/v1/webhooks", { url: base });
    expect(refused.statusCode).toBe(400);
  });
});
