/** Messages on their way: signed, tried again, given up, replayed, and each try made once. */
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { seededRandom } from "@holdfast/runtime";
import { Webhook } from "standardwebhooks";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  createWebhooksKit,
  drop,
  ok,
  status,
  type WebhooksBench,
  type WebhooksKit,
} from "../../testing/webhooks-kit.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { createDeliverer } from "./deliverer.ts";
import { RETRY_DELAYS_MS } from "./logic.ts";
import { MAX_TRIES_PER_HOST } from "./model.ts";
import { pruneDeliveries } from "./store.ts";

const never = new AbortController().signal;
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

describe("delivery", () => {
  test("a message is signed with the endpoint's secret and carries the event", async () => {
    const { secret } = await at.endpoint();
    const id = await at.tell("job.completed");
    expect(await at.deliverDue()).toBe(1);
    const request = at.seen[0];
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
    expect(await at.deliveries()).toMatchObject([
      { state: "delivered", attemptCount: 1, lastStatus: 200, lastError: null },
    ]);
    expect(await at.deliverDue()).toBe(0);
  });

  test("a job's own webhook is signed with the deployment's secret, the same for good", async () => {
    const jobId = await at.insertJob("key_a", { url: `${at.base}/own` });
    await at.tell("job.failed", { jobId });
    await at.deliverDue();
    const secret = await at.webhooks.jobSecret();
    const request = at.seen[0];
    expect(() =>
      new Webhook(secret).verify(request?.body ?? "", request?.headers as never),
    ).not.toThrow();
    expect(await at.webhooks.jobSecret()).toBe(secret);
  });

  test("a target that is down for ten minutes is told when it is back, under the same id", async () => {
    await at.endpoint();
    const id = await at.tell();
    at.answer = status(503);
    const until = at.clock.now() + 10 * 60_000;
    while (at.clock.now() < until) {
      await at.deliverDue();
      await at.clock.advance(1_000);
    }
    const failures = at.seen.length;
    expect(failures).toBeGreaterThanOrEqual(4);
    expect(await at.deliveries()).toMatchObject([{ state: "pending", lastStatus: 503 }]);
    at.answer = ok;
    await at.clock.advance(15 * 60_000);
    await at.deliverDue();
    expect(await at.deliveries()).toMatchObject([
      { state: "delivered", attemptCount: failures + 1 },
    ]);
    expect(new Set(at.seen.map((request) => request.headers["webhook-id"]))).toEqual(new Set([id]));
    const stamps = at.seen.map((request) => request.headers["webhook-timestamp"]);
    expect(new Set(stamps).size).toBe(stamps.length);
  });

  test("a target that refuses connections for five seconds is told after them", async () => {
    await at.endpoint();
    await at.tell();
    const { port } = at.target.address() as AddressInfo;
    await new Promise((resolve) => at.target.close(resolve));
    await at.deliverDue();
    expect(await at.deliveries()).toMatchObject([
      { state: "pending", lastError: "the connection was refused", lastStatus: null },
    ]);
    await new Promise<void>((resolve) => at.target.listen(port, "127.0.0.1", resolve));
    await at.clock.advance(6_000);
    await at.deliverDue();
    expect(await at.deliveries()).toMatchObject([{ state: "delivered", attemptCount: 2 }]);
  });

  test("a target that reads everything and drops the connection is told again, same id", async () => {
    await at.endpoint();
    const id = await at.tell();
    at.answer = drop;
    await at.deliverDue();
    at.answer = ok;
    await at.clock.advance(6_000);
    await at.deliverDue();
    expect(at.seen.map((request) => request.headers["webhook-id"])).toEqual([id, id]);
    expect(at.seen[0]?.body).toBe(at.seen[1]?.body);
    expect(await at.deliveries()).toMatchObject([{ state: "delivered" }]);
  });

  test("a target that never answers is left after its ten seconds", async () => {
    await at.endpoint();
    await at.tell();
    let arrived = (): void => undefined;
    const asked = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    at.answer = () => arrived();
    await at.deliverer.startDue(never);
    await asked;
    await at.clock.advance(10_001);
    await at.deliverer.idle();
    expect(await at.deliveries()).toMatchObject([
      { state: "pending", lastError: "no answer within 10 s" },
    ]);
  });

  test("a redirect is not followed: a signed body goes where it was meant to go", async () => {
    await at.endpoint();
    await at.tell();
    at.answer = (_request, response) => response.writeHead(307, { location: "/other" }).end();
    await at.deliverDue();
    expect(at.seen).toHaveLength(1);
    expect(await at.deliveries()).toMatchObject([{ state: "pending", lastStatus: 307 }]);
  });

  test("a target that moved into a private network is not called", async () => {
    const { endpoint: made } = await at.endpoint();
    await at.tell();
    await at.db.query(
      "update webhook_endpoints set url = 'http://169.254.169.254/' where id = $1",
      [made.id],
    );
    await at.deliverDue();
    expect(await at.deliveries()).toMatchObject([
      { state: "pending", lastError: expect.stringContaining("169.254.169.254") },
    ]);
  });

  test("410 disables the endpoint and ends what is on its way to it", async () => {
    const { endpoint: made } = await at.endpoint();
    await at.tell();
    await at.tell();
    at.answer = status(410);
    await at.deliverer.startDue(never);
    await at.deliverer.idle();
    expect((await at.webhooks.get(made.id, "key_a")).enabled).toBe(false);
    expect(new Set((await at.deliveries()).map((one) => one.state))).toEqual(new Set(["dead"]));
    await at.clock.advance(3_600_000);
    expect(await at.deliverDue()).toBe(0);
  });

  test("after its last try a message is a dead letter; a replay starts anew under the same id", async () => {
    await at.endpoint();
    const id = await at.tell();
    at.answer = status(500);
    for (let tries = 0; tries <= RETRY_DELAYS_MS.length; tries += 1) {
      await at.deliverDue();
      await at.clock.advance(15 * 3_600_000);
    }
    expect(at.seen).toHaveLength(RETRY_DELAYS_MS.length + 1);
    const [dead] = await at.deliveries();
    expect(dead).toMatchObject({ state: "dead", lastStatus: 500, endedAt: expect.any(Number) });
    expect(await at.deliverDue()).toBe(0);
    await at.webhooks.replay(dead?.id ?? "", "key_a");
    expect(at.dueCalls).toBe(1);
    await at.deliverDue();
    expect(await at.deliveries()).toMatchObject([{ state: "pending", attemptCount: 1 }]);
    at.answer = ok;
    await at.clock.advance(6_000);
    await at.deliverDue();
    expect(await at.deliveries()).toMatchObject([{ state: "delivered" }]);
    await at.webhooks.replay(dead?.id ?? "", "key_a");
    await at.deliverDue();
    expect(at.seen.at(-1)?.headers["webhook-id"]).toBe(id);
  });

  test("replicas that look at the same time make each try once", async () => {
    await at.endpoint();
    for (let n = 0; n < 20; n += 1) await at.tell();
    const others = Array.from({ length: 4 }, () =>
      createDeliverer({
        db: at.db,
        clock: at.clock,
        random: seededRandom(1),
        log: SILENT_LOG,
        fetch: at.fetcher,
        databaseNow: () => at.clock.now(),
      }),
    );
    for (let round = 0; round < 10; round += 1) {
      await Promise.all(others.map((one) => one.startDue(never)));
      await Promise.all(others.map((one) => one.idle()));
    }
    const received = at.seen.map((request) => request.headers["webhook-id"]);
    expect(received).toHaveLength(20);
    expect(new Set(received).size).toBe(20);
  });

  test("a slow host holds only its own few tries, and others go on", async () => {
    await at.endpoint("key_a", [], "/slow");
    for (let n = 0; n < 12; n += 1) await at.tell();
    const waiting: ServerResponse[] = [];
    at.answer = (_request, response) => void waiting.push(response);
    while ((await at.deliverer.startDue(never)) > 0);
    await expect.poll(() => waiting.length).toBe(MAX_TRIES_PER_HOST);
    const quick = at.base.replace("127.0.0.1", "localhost");
    await at.db.query(
      `insert into webhook_deliveries (id, owner, event_id, event_type, url, payload, next_at)
       values ('whd_x', 'key_a', 'evt_x', 'job.failed', $1, '{}', to_timestamp($2))`,
      [quick, at.clock.now() / 1000],
    );
    expect(await at.deliverer.startDue(never)).toBe(1);
    at.answer = ok;
    for (const response of waiting) response.end();
    await at.deliverer.idle();
    await at.deliverDue();
  });

  test("a try that a crash cut off is made again when its claim ends", async () => {
    await at.endpoint();
    await at.tell();
    await at.db.query(
      `update webhook_deliveries set attempt_count = 1,
         claimed_until = to_timestamp($1) + interval '60 seconds'`,
      [at.clock.now() / 1000],
    );
    expect(await at.deliverDue()).toBe(0);
    await at.clock.advance(60_000);
    expect(await at.deliverDue()).toBe(1);
    expect(await at.deliveries()).toMatchObject([{ state: "delivered", attemptCount: 2 }]);
  });

  test("a try that we break off when stopping costs nothing", async () => {
    await at.endpoint();
    await at.tell();
    const stopping = new AbortController();
    at.answer = () => stopping.abort(new Error("stopping"));
    await at.deliverer.startDue(stopping.signal);
    await at.deliverer.idle();
    expect(await at.deliveries()).toMatchObject([{ state: "pending", attemptCount: 0 }]);
    at.answer = ok;
    expect(await at.deliverDue()).toBe(1);
  });
});

test("a delivery that was made goes out after its job was removed, signed and the same", async () => {
  const jobId = await at.insertJob("key_a", { url: `${at.base}/own` });
  const told = await at.tell("job.completed", { jobId });
  at.answer = status(500);
  await at.deliverDue();
  await at.db.query("delete from jobs where id = $1", [jobId]);
  at.answer = ok;
  await at.clock.advance(RETRY_DELAYS_MS[0] ?? 0);
  await at.clock.advance(RETRY_DELAYS_MS[0] ?? 0);
  await at.deliverDue();
  expect(await at.deliveries()).toMatchObject([{ state: "delivered", jobId, eventId: told }]);
  const [first, second] = at.seen;
  expect(second?.body).toBe(first?.body);
  const secret = await at.webhooks.jobSecret();
  expect(() =>
    new Webhook(secret).verify(second?.body ?? "", second?.headers as Record<string, string>),
  ).not.toThrow(); // prettier-ignore
});

test("ended deliveries go after their time; what is still under way stays, and hides nothing", async () => {
  await at.endpoint();
  for (let index = 0; index < 6; index += 1) await at.tell();
  const [newest, ...others] = await at.deliveries();
  const keepMs = 24 * 60 * 60 * 1000;
  await at.db.query(
    "update webhook_deliveries set state = 'delivered', ended_at = now() where id = any($1::text[])",
    [others.slice(0, 4).map((one) => one.id)],
  );
  const prune = (hours: number): Promise<number> =>
    pruneDeliveries(at.db, keepMs, 3, at.clock.now() + hours * 60 * 60 * 1000);
  expect(await prune(23)).toBe(0);
  // The oldest is under way: two of the three oldest go, then the next two.
  expect([await prune(25), await prune(25), await prune(25)]).toEqual([2, 2, 0]);
  expect((await at.deliveries()).map((one) => one.id)).toEqual([newest?.id, others.at(-1)?.id]);
});
