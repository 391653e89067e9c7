/** The API of alerts: who may, what is refused and in which words, pages, rules, channels. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createAlertsKit, type AlertsBench, type AlertsKit } from "../../testing/alerts-kit.ts";

let kit: AlertsKit;
let at: AlertsBench;
beforeAll(async () => {
  kit = await createAlertsKit();
});
afterAll(() => kit.close());
beforeEach(async () => {
  at = await kit.open();
});
afterEach(() => at.close());

const NO_ALERT = `alt_${"0".repeat(26)}`;
const RULE = {
  severity: "info",
  summary: "{value} jobs wait",
  when: { metric: "holdfast_jobs", where: { status: "queued" }, above: 5 },
};

test("is for operators and administrators", async () => {
  const paths: (readonly ["GET" | "POST" | "PUT" | "DELETE", string, object?])[] = [
    ["GET", "/api/v1/alerts"],
    ["GET", `/api/v1/alerts/${NO_ALERT}`],
    ["POST", `/api/v1/alerts/${NO_ALERT}/acknowledge`, {}],
    ["GET", "/api/v1/alerts/rules"],
    ["PUT", "/api/v1/alerts/rules/x", {}],
    ["DELETE", "/api/v1/alerts/rules/x"],
    ["GET", "/api/v1/alerts/silences"],
    ["POST", "/api/v1/alerts/silences", { matchers: ["rule=x"], forSeconds: 1, reason: "x" }],
    ["DELETE", `/api/v1/alerts/silences/sil_${"0".repeat(26)}`],
    ["GET", "/api/v1/alerts/channels"],
    ["POST", "/api/v1/alerts/test", {}],
    ["GET", "/api/v1/alerts/deliveries"],
    ["GET", `/api/v1/alerts/deliveries/ald_${"0".repeat(26)}`],
  ];
  for (const [method, url, payload] of paths) {
    const answer = await at.server.app.inject({
      method,
      url,
      headers: { "x-test-caller": "key_a/user" },
      ...(payload === undefined ? {} : { payload }),
    });
    expect([method, url, answer.statusCode]).toEqual([method, url, 403]);
  }
});

test("lists by state, severity and rule, page by page", async () => {
  at.samples = Array.from({ length: 5 }, (_, n) => at.heat(90, `m${n}`));
  await at.step();
  at.samples = at.samples.slice(1);
  await at.step();
  expect(await at.listed("?state=live")).toHaveLength(4);
  expect(await at.listed("?state=resolved")).toHaveLength(1);
  expect(await at.listed("?severity=critical")).toEqual([]);
  expect(await at.listed("?rule=too_hot")).toHaveLength(5);
  const ids: unknown[] = [];
  let cursor = "";
  do {
    const page = await at.call("GET", `/api/v1/alerts?limit=2${cursor}`);
    ids.push(...(page.body["items"] as { id: string }[]).map(({ id }) => id));
    const next = page.body["next"] as string | null;
    cursor = next === null ? "" : `&cursor=${next}`;
  } while (cursor !== "");
  expect(new Set(ids).size).toBe(5);
});

test("says what is not there, and what has ended", async () => {
  expect(await at.call("GET", `/api/v1/alerts/${NO_ALERT}`)).toMatchObject({ status: 404 });
  at.samples = [at.heat(90)];
  await at.step();
  const [alert] = await at.listed();
  at.samples = [];
  await at.step();
  const late = await at.call("POST", `/api/v1/alerts/${alert?.id}/acknowledge`, {});
  expect(late).toMatchObject({
    status: 400,
    body: { error: { message: expect.stringContaining("is resolved") } },
  });
});

test("an acknowledgement without a note keeps the note of the one before", async () => {
  at.samples = [at.heat(90)];
  await at.step();
  const [alert] = await at.listed();
  const acknowledge = async (body: object) =>
    (await at.call("POST", `/api/v1/alerts/${alert?.id}/acknowledge`, body)).body["acknowledged"];
  expect(await acknowledge({})).toMatchObject({ note: null });
  expect(await acknowledge({ note: "fan ordered" })).toMatchObject({ note: "fan ordered" });
  expect(await acknowledge({})).toMatchObject({ note: "fan ordered" });
  expect(await acknowledge({ note: "fan is here" })).toMatchObject({ note: "fan is here" });
});

describe("rules", () => {
  const named = async (name: string) => {
    const { body } = await at.call("GET", "/api/v1/alerts/rules");
    return (body["rules"] as { name: string }[]).find((rule) => rule.name === name);
  };

  test("are listed with where they come from and whether their metrics are told", async () => {
    expect(await named("queue_old")).toMatchObject({
      source: "built_in",
      enabled: true,
      severity: "warning",
      when: { metric: "jobs_oldest_queued_seconds", above: 600, resolve: 540 },
      hasData: false,
      alerts: 0,
      omitted: 0,
    });
  });

  test("are made, replaced, put out of force and taken away", async () => {
    const made = await at.call("PUT", "/api/v1/alerts/rules/long_queue", RULE);
    expect(made).toMatchObject({ status: 200, body: { name: "long_queue", source: "api" } });
    await at.call("PUT", "/api/v1/alerts/rules/long_queue", { ...RULE, severity: "critical" });
    expect(await named("long_queue")).toMatchObject({ severity: "critical" });
    expect((await at.call("DELETE", "/api/v1/alerts/rules/long_queue")).status).toBe(204);
    expect(await named("long_queue")).toBeUndefined();

    await at.call("PUT", "/api/v1/alerts/rules/queue_old", { enabled: false });
    expect(await named("queue_old")).toMatchObject({ enabled: false, severity: null });
    const inForce = await at.rules.inForce(at.db);
    expect(inForce.some(({ name }) => name === "queue_old")).toBe(false);
    await at.call("DELETE", "/api/v1/alerts/rules/queue_old");
    expect(await named("queue_old")).toMatchObject({ enabled: true, source: "built_in" });
  });

  test("with mistakes are refused field by field, and fixed ones cannot be deleted", async () => {
    const wrong = await at.call("PUT", "/api/v1/alerts/rules/x", { ...RULE, severity: "bad" });
    expect(wrong).toMatchObject({
      status: 422,
      body: {
        error: {
          code: "alert_rule_invalid",
          details: { problems: [{ path: "severity" }] },
        },
      },
    });
    const other = await at.call("PUT", "/api/v1/alerts/rules/x", { ...RULE, name: "y" });
    expect(other.body).toMatchObject({
      error: { message: 'name: expected x, as in the address, found "y"' },
    });
    expect(await at.call("DELETE", "/api/v1/alerts/rules/queue_old")).toMatchObject({
      status: 409,
      body: { error: { code: "alert_rule_fixed" } },
    });
    expect(await at.call("DELETE", "/api/v1/alerts/rules/nobody")).toMatchObject({ status: 404 });
  });
});

test("a list by a rule that there is not is refused, and of one that is gone it shows what is kept", async () => {
  expect(await at.call("GET", "/api/v1/alerts?rule=queue_odl")).toMatchObject({
    status: 400,
    body: { error: { message: expect.stringContaining("did you mean queue_old?") } },
  });
  expect(await at.call("GET", "/api/v1/alerts?rule=queue_old")).toMatchObject({ status: 200 });
  at.samples = [at.heat(90)];
  await at.step();
  await at.db.query("update alerts set rule = 'long_gone'");
  expect(await at.listed("?rule=long_gone&state=live")).toHaveLength(1);
  expect(await at.call("GET", "/api/v1/alerts?rule=long_gone&state=resolved")).toMatchObject({
    status: 200,
    body: { items: [] },
  });
});

test("a silence of a rule that there is not is refused; of labels it says how many alerts it fits", async () => {
  const silence = (...matchers: string[]) =>
    at.call("POST", "/api/v1/alerts/silences", { matchers, forSeconds: 60, reason: "x" });
  for (const matcher of ["rule=too_hto", "rule!=too_hto", "rule=too_hto*"]) {
    expect(await silence(matcher, "machine=m1")).toMatchObject({
      status: 400,
      body: { error: { code: "invalid_request", message: expect.stringContaining("expected") } },
    });
  }
  const near = await silence("rule=too_hto");
  expect(near.body).toMatchObject({
    error: {
      message: expect.stringMatching(
        /^rule=too_hto: expected a rule of .*queue_old.*, found "too_hto"; did you mean too_hot\?$/,
      ),
    },
  });
  expect(await silence("severity=critcal")).toMatchObject({ status: 400 });
  expect((await at.call("GET", "/api/v1/alerts/silences")).body["items"]).toEqual([]);
  expect(await silence("machine=m1")).toMatchObject({ status: 201, body: { fitsNow: 0 } });
  at.samples = [at.heat(90, "m1"), at.heat(90, "m2")];
  await at.step();
  expect(await silence("machine=m1")).toMatchObject({ status: 201, body: { fitsNow: 1 } });
  expect(await silence("rule=too_*")).toMatchObject({ status: 201, body: { fitsNow: 2 } });
});

test("a silence has to say what it is for", async () => {
  const silence = (matchers: string[]) =>
    at.call("POST", "/api/v1/alerts/silences", { matchers, forSeconds: 60, reason: "x" });
  expect(await silence(["machine"])).toMatchObject({
    status: 400,
    body: { error: { message: expect.stringContaining("expected a matcher") } },
  });
  expect(await silence(["machine!=box"])).toMatchObject({
    status: 400,
    body: { error: { message: expect.stringContaining("rule=*") } },
  });
  expect(await silence(["rule=*", "machine!=box"])).toMatchObject({ status: 201 });
  expect(await silence([])).toMatchObject({ status: 400 });
  const listed = await at.call("GET", "/api/v1/alerts/silences");
  expect(listed.body["items"]).toHaveLength(1);
  const none = await at.call("DELETE", `/api/v1/alerts/silences/sil_${"0".repeat(26)}`);
  expect(none.status).toBe(404);
});

test("channels are listed without their addresses, and tried", async () => {
  const { body } = await at.call("GET", "/api/v1/alerts/channels");
  expect(body["channels"]).toEqual([
    {
      name: "ops",
      type: "webhook",
      minSeverity: "warning",
      target: "127.0.0.1",
      pausedUntil: null,
    },
    {
      name: "boss",
      type: "webhook",
      minSeverity: "critical",
      target: "127.0.0.1",
      pausedUntil: null,
    },
  ]);
  const tested = await at.call("POST", "/api/v1/alerts/test", { channel: "boss" });
  expect(tested).toMatchObject({ status: 202, body: { deliveries: [{ channel: "boss" }] } });
  await at.deliverDue();
  expect(at.channels[1]?.sent).toMatchObject([{ cause: "test", alerts: [{ rule: "test" }] }]);
  const [delivery] = tested.body["deliveries"] as { id: string }[];
  const after = await at.call("GET", `/api/v1/alerts/deliveries/${delivery?.id}`);
  expect(after.body).toMatchObject({ state: "delivered", attemptCount: 1, cause: "test" });
  const none = await at.call("POST", "/api/v1/alerts/test", { channel: "nobody" });
  expect(none).toMatchObject({
    status: 404,
    body: { error: { message: "there is no channel nobody; there are ops, boss" } },
  });
  const all = await at.call("GET", "/api/v1/alerts/deliveries?channel=boss&state=delivered");
  expect(all.body["items"]).toHaveLength(1);
});

test("tests of a channel that hangs are one test, and hold up no other channel", async () => {
  const [ops, boss] = at.channels;
  if (ops === undefined || boss === undefined) throw new Error("no channel");
  ops.outcome = "hang";
  const [first] = await at.alerts.test("ops");
  const stopping = new AbortController();
  const deliverer = at.makeDeliverer();
  await deliverer.startDue(stopping.signal);
  for (let n = 0; n < 60; n += 1) {
    expect((await at.alerts.test("ops")).map(({ id }) => id)).toEqual([first?.id]);
  }
  await at.alerts.test("boss");
  await deliverer.startDue(stopping.signal);
  await expect.poll(() => boss.sent.length).toBe(1);
  stopping.abort(new Error("stopping"));
  await deliverer.idle();
});

test("a test does not wait behind a notification that cannot be delivered", async () => {
  const [ops] = at.channels;
  if (ops === undefined) throw new Error("no channel");
  ops.outcome = { kind: "failed", reason: "503" };
  at.samples = [at.heat(90)];
  await at.step();
  ops.outcome = { kind: "sent" };
  await at.alerts.test("ops");
  await at.deliverDue();
  expect(ops.sent.map(({ cause }) => cause)).toEqual(["test"]);
});
