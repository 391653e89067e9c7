/** Who is told of what, from the outbox to the target; and the endpoints' routes. */
import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { Webhook } from "standardwebhooks";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  createWebhooksKit,
  status,
  type WebhooksBench,
  type WebhooksKit,
} from "../../testing/webhooks-kit.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { appendEvents } from "../platform/outbox.ts";
import { createWebhookLoops } from "./loop.ts";

let kit: WebhooksKit;
let at: WebhooksBench;
beforeAll(async () => {
  kit = await createWebhooksKit();
});
afterAll(() => kit.close());
beforeEach(async () => {
  at = await kit.open();
});
afterEach(() => at.close());

describe("who is told", () => {
  test("an endpoint is told its owner's events of its types, once", async () => {
    await at.endpoint("key_a", ["job.completed"]);
    await at.endpoint("key_b");
    const told = await at.tell("job.completed");
    await at.tell("job.queued");
    await at.spread();
    await at.spread();
    expect((await at.deliveries()).map((one) => one.eventId)).toEqual([told]);
  });

  test("administrators' endpoints are told everybody's events, until their key is revoked", async () => {
    await at.db.query(
      `insert into api_keys (id, name, role, secret_hash, revoked_at) values
         ('key_admin', 'a', 'admin', 'h1', null), ('key_gone', 'b', 'admin', 'h2', now()),
         ('key_user', 'c', 'user', 'h3', null)`,
    );
    for (const owner of ["key_admin", "key_gone", "key_user", "local"]) await at.endpoint(owner);
    await at.tell("job.failed", { owner: "key_a" });
    expect((await at.deliveries()).map((one) => one.owner).sort()).toEqual(["key_admin", "local"]);
  });

  test("a job's own webhook is told how the job ended, or what it asks for", async () => {
    const plain = await at.insertJob("key_a", { url: `${at.base}/plain` });
    const picky = await at.insertJob("key_a", { url: `${at.base}/picky`, events: ["job.queued"] });
    for (const jobId of [plain, picky]) {
      for (const type of ["job.queued", "attempt.started", "job.timeout"]) {
        await at.tell(type, { jobId });
      }
    }
    const told = (await at.deliveries()).map((one) => `${one.jobId} ${one.eventType} ${one.url}`);
    expect(told.sort()).toEqual([
      `${plain} job.timeout ${at.base}/plain`,
      `${picky} job.queued ${at.base}/picky`,
    ]);
  });

  test("a disabled endpoint is told nothing more", async () => {
    const { endpoint: made } = await at.endpoint();
    await at.tell();
    await at.webhooks.update(made.id, "key_a", { enabled: false });
    await at.tell();
    expect(await at.deliveries()).toMatchObject([
      { state: "dead", lastError: "the endpoint was disabled" },
    ]);
  });
});

test("the loops carry an event from the outbox to its target, and stop", async () => {
  await at.endpoint();
  const loops = createWebhookLoops({
    db: at.db,
    clock: systemClock,
    random: seededRandom(1),
    log: SILENT_LOG,
    ids: at.ids,
    fetch: at.fetcher,
    pollEveryMs: 20,
    onRemoved: () => undefined,
  });
  for (const loop of [loops.fanOut, loops.deliver, loops.prune]) await loop.start();
  // The reader begins with what is told after its first look.
  await expect
    .poll(async () => (await at.db.query("select from event_cursors")).rows.length)
    .toBe(1);
  const id = at.ids.next("evt");
  await at.db.transaction((tx) =>
    appendEvents(tx, [
      { id, type: "job.failed", version: 1, owner: "key_a", payload: { number: 1 } },
    ]),
  );
  await expect
    .poll(() => at.seen.map((request) => request.headers["webhook-id"]), { timeout: 10_000 })
    .toEqual([id]);
  // A stop breaks off a try whose answer is on its way: the delivery would be sent once more later.
  await expect
    .poll(async () => (await at.deliveries()).map((one) => one.state))
    .toEqual(["delivered"]);
  for (const loop of [loops.prune, loops.deliver, loops.fanOut]) await loop.stop();
});

describe("routes", () => {
  const inject = (
    method: "GET" | "POST" | "PATCH" | "DELETE",
    url: string,
    payload?: object,
    as = "key_a/user",
  ) =>
    at.server.app.inject({
      method,
      url,
      headers: { "x-test-caller": as },
      ...(payload === undefined ? {} : { payload }),
    });

  test("an endpoint is made, its secret shown once, changed, pinged and deleted", async () => {
    const made = await inject("POST", "/api/v1/webhooks", { url: `${at.base}/hook` });
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
    await at.deliverDue();
    expect(
      new Webhook(secret).verify(at.seen[0]?.body ?? "", at.seen[0]?.headers as never),
    ).toMatchObject({
      type: "webhook.ping",
    });
    const renewed = (await inject("POST", `${url}/secret`)).json<{ secret: string }>();
    expect(renewed.secret).not.toBe(secret);
    expect((await inject("DELETE", url)).statusCode).toBe(204);
    expect((await inject("GET", url)).statusCode).toBe(404);
    expect(await at.deliveries()).toEqual([]);
  });

  test("endpoints and deliveries of others are not there", async () => {
    const { endpoint: made } = await at.endpoint("key_a");
    await at.tell();
    const [delivery] = await at.deliveries();
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
    const { endpoint: made } = await at.endpoint("key_a");
    const jobId = await at.insertJob("key_a", null);
    await at.tell("job.completed", { jobId });
    await at.tell("job.failed");
    at.answer = status(410);
    await at.deliverDue();
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
    await at.db.query(
      `insert into webhook_endpoints (id, owner, url, secret)
       select 'whe_' || n, 'key_a', 'http://127.0.0.1/', 's' from generate_series(1, 50) as n`,
    );
    const refused = await inject("POST", "/api/v1/webhooks", { url: at.base });
    expect(refused.statusCode).toBe(400);
  });
});
