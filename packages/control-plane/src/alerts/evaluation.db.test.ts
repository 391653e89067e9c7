/** From a sample to a channel and to its end, in spite of crashes, replicas and channels that are away. */
import { CHANNELS_MAX, parseAlertRule } from "@holdfast/alerts";
import { pick, seededRandom } from "@holdfast/runtime";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  createAlertsKit,
  HEAT_RULE,
  type AlertsBench,
  type AlertsKit,
} from "../../testing/alerts-kit.ts";
import { pruneAlerts } from "./alert-store.ts";
import {
  insertDelivery,
  killOrphans,
  pruneDeliveries,
  selectDeadChannels,
} from "./delivery-store.ts";
import { CLAIM_MS, PAUSE_MS } from "./model.ts";
import { MAX_TRIES } from "./retry.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
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

describe("an alert", () => {
  test("fires, is told and listed with an event, and all of that again when it is resolved", async () => {
    at.samples = [at.heat(90)];
    await at.step();
    expect(await at.listed()).toMatchObject([
      {
        rule: "too_hot",
        state: "firing",
        labels: { machine: "m1" },
        value: 90,
        summary: "m1 has 90 degrees",
        advice: "Open a window.",
        silencedBy: null,
        acknowledged: null,
      },
    ]);
    at.samples = [at.heat(60)];
    await at.step(MINUTE);
    expect(await at.listed()).toMatchObject([
      { state: "resolved", value: 90, reason: "it is right again" },
    ]);
    expect(at.told()).toEqual(["change m1 firing", "change m1 resolved"]);
    expect(at.channels[0]?.sent[0]?.alerts[0]).toMatchObject({
      summary: "m1 has 90 degrees",
      value: 90,
      lastValue: null,
    });
    expect(at.channels[0]?.sent[1]?.alerts[0]).toMatchObject({
      reason: "it is right again",
      summary: "Over after 1 min, it is right again; it was: m1 has 90 degrees",
      value: null,
      lastValue: 90,
    });
    expect(await at.events()).toEqual(["alert.fired m1", "alert.resolved m1"]);
    const { rows } = await at.db.query<{ summary: string }>(
      "select payload ->> 'summary' as summary from events order by seq",
    );
    expect(rows.map(({ summary }) => summary)).toEqual([
      "m1 has 90 degrees",
      "Over after 1 min, it is right again; it was: m1 has 90 degrees",
    ]);
    expect(at.told(1)).toEqual([]); // Not bad enough for that channel.
  });

  test("of an endless value, or with advice that no database takes, holds up no other", async () => {
    await at.close();
    const parsed = parseAlertRule({
      name: "odd",
      severity: "warning",
      summary: "\u0000 {value}",
      advice: "open\u0000it",
      when: { metric: "odd", above: 1 },
    });
    if (parsed.kind !== "ok" || parsed.value.kind !== "rule") throw new Error("not read");
    at = await kit.open([parsed.value.rule, HEAT_RULE]);
    at.samples = [{ metric: "odd", labels: { machine: "m0" }, value: Infinity }, at.heat(90)];
    await at.step();
    expect(at.told()).toEqual(["change m0 firing m1 firing"]);
    expect((await at.listed()).find(({ rule }) => rule === "odd")).toMatchObject({
      value: Number.MAX_VALUE,
      advice: "open it",
    });
    const { rows } = await at.db.query<{ value: number | null }>(
      "select (payload ->> 'value')::float8 as value from events order by seq",
    );
    expect(rows.map(({ value }) => value)).toEqual([Number.MAX_VALUE, 90]);
  });

  test("that goes on is written as it is now, and told no second time", async () => {
    at.samples = [at.heat(90)];
    await at.step();
    at.samples = [at.heat(75)];
    await at.step(MINUTE);
    at.samples = [at.heat(99)];
    await at.step(MINUTE);
    expect(await at.listed()).toMatchObject([{ state: "firing", value: 99 }]);
    expect(at.told()).toEqual(["change m1 firing"]);
  });

  test("is pending first when it has to hold for a time, and forgotten when it does not", async () => {
    await at.close();
    at = await kit.open([{ ...HEAT_RULE, forMs: MINUTE }]);
    at.samples = [at.heat(90)];
    await at.step();
    expect(await at.listed()).toMatchObject([{ state: "pending", firedAt: null }]);
    at.samples = [at.heat(20)];
    await at.step();
    expect(await at.listed()).toEqual([]);
    expect(await at.events()).toEqual([]);
  });

  test("without data is resolved with the reason", async () => {
    at.samples = [at.heat(90)];
    await at.step();
    at.samples = null;
    await at.step();
    await at.step(5 * MINUTE);
    expect(await at.listed()).toMatchObject([
      { state: "resolved", reason: "nothing was told of it for 5 min" },
    ]);
  });

  test("that comes again is another one, with the same fingerprint", async () => {
    for (const value of [90, 60, 90]) {
      at.samples = [at.heat(value)];
      await at.step(MINUTE);
    }
    const [second, first] = await at.listed();
    expect(second?.fingerprint).toBe(first?.fingerprint);
    expect(second?.id).not.toBe(first?.id);
    expect(at.told()).toEqual(["change m1 firing", "change m1 resolved", "change m1 firing"]);
  });
});

describe("replicas", () => {
  test("evaluate one at a time, and once in their time", async () => {
    at.samples = [at.heat(90)];
    const all = await Promise.all([at.evaluate(), at.evaluate(), at.evaluate(), at.evaluate()]);
    expect(all.filter((one) => one !== undefined)).toHaveLength(1);
    expect(await at.evaluate()).toBeUndefined();
    await at.clock.advance(10_000);
    expect(await at.evaluate()).toMatchObject({ changes: [] });
    expect(await at.listed()).toHaveLength(1);
  });

  test("send each notification once", async () => {
    at.samples = [at.heat(90)];
    await at.clock.advance(10_000);
    await at.evaluate();
    const others = Array.from({ length: 4 }, () => at.makeDeliverer());
    const never = new AbortController().signal;
    const started = await Promise.all(others.map((one) => one.startDue(never)));
    await Promise.all(others.map((one) => one.idle()));
    expect(started.reduce((sum, count) => sum + count, 0)).toBe(1);
    expect(at.told()).toEqual(["change m1 firing"]);
  });

  test("whose evaluation is cut off leave nothing of it, and the next one loses nothing", async () => {
    at.samples = [at.heat(90)];
    await at.clock.advance(10_000);
    await at.db.query(
      "alter table alert_deliveries add constraint broken check (cause <> 'change') not valid",
    );
    await expect(at.evaluate()).rejects.toThrow("broken");
    await at.db.query("alter table alert_deliveries drop constraint broken");
    expect(await at.listed()).toEqual([]);
    expect(await at.events()).toEqual([]);
    await at.step();
    expect(at.told()).toEqual(["change m1 firing"]);
    expect(await at.events()).toEqual(["alert.fired m1"]);
  });

  test("that die between sending and writing so have it sent again under the same id, and its end told", async () => {
    at.samples = [at.heat(90)];
    const [ops] = at.channels;
    if (ops === undefined) throw new Error("no channel");
    ops.outcome = "hang";
    await at.clock.advance(10_000);
    await at.evaluate();
    const dying = at.makeDeliverer();
    // Never settled: its process is gone.
    await dying.startDue(new AbortController().signal);
    ops.outcome = { kind: "refused", reason: "no" };
    expect(await at.deliverDue()).toBe(0);
    await at.clock.advance(CLAIM_MS + 1);
    expect(await at.deliverDue()).toBe(1);
    // It may have arrived the first time, so the end is told although the second try was refused.
    ops.outcome = { kind: "sent" };
    at.samples = [at.heat(60)];
    await at.step(PAUSE_MS + MINUTE);
    expect(at.told()).toEqual(["change m1 resolved"]);
  });

  test("that stop in order give the try back", async () => {
    at.samples = [at.heat(90)];
    const [ops] = at.channels;
    if (ops === undefined) throw new Error("no channel");
    ops.outcome = "hang";
    await at.clock.advance(10_000);
    await at.evaluate();
    const stopping = new AbortController();
    const leaving = at.makeDeliverer();
    await leaving.startDue(stopping.signal);
    stopping.abort(new Error("stopping"));
    await leaving.idle();
    ops.outcome = { kind: "sent" };
    await at.deliverDue();
    expect(at.told()).toEqual(["change m1 firing"]);
    const page = await at.alerts.listDeliveries(
      { channel: null, state: null },
      { cursor: null, limit: 9 },
    );
    expect(page.items).toMatchObject([{ state: "delivered", attemptCount: 1 }]);
  });
});

describe("a channel", () => {
  test("that is away is told when it is back: what fired, then what ended, in this order", async () => {
    const [ops] = at.channels;
    if (ops === undefined) throw new Error("no channel");
    ops.outcome = { kind: "unknown", reason: "no answer" };
    at.samples = [at.heat(90)];
    await at.step();
    at.samples = [at.heat(60), at.heat(95, "m2")];
    for (let tick = 0; tick < 30; tick += 1) await at.step();
    expect(at.told()).toEqual([]);
    ops.outcome = { kind: "sent" };
    for (let tick = 0; tick < 12; tick += 1) await at.step();
    expect(at.told()).toEqual(["change m1 firing", "change m1 resolved m2 firing"]);
  });

  test("that stays away has its notification given up, is left alone, and is told what is still so", async () => {
    const [ops] = at.channels;
    if (ops === undefined) throw new Error("no channel");
    ops.outcome = { kind: "failed", reason: "503" };
    at.samples = [at.heat(90)];
    await at.step();
    for (let tick = 0; tick < MAX_TRIES + 2; tick += 1) await at.step(61_000);
    const page = () =>
      at.alerts.listDeliveries({ channel: "ops", state: "dead" }, { cursor: null, limit: 9 });
    expect((await page()).items).toMatchObject([
      { attemptCount: MAX_TRIES, lastError: "503", alerts: [{ status: "firing" }] },
    ]);
    expect((await at.alerts.channels())[0]?.pausedUntil).not.toBeNull();
    // It ended while the channel knew nothing of it: there is nothing to tell.
    at.samples = [at.heat(60), at.heat(91, "m2")];
    ops.outcome = { kind: "sent" };
    for (let tick = 0; tick < 7; tick += 1) await at.step(MINUTE);
    expect(at.told()).toEqual(["change m2 firing"]);
    expect((await at.alerts.channels())[0]?.pausedUntil).toBeNull();
  });

  test("that was given up is well again once a test arrives there", async () => {
    const [ops] = at.channels;
    if (ops === undefined) throw new Error("no channel");
    ops.outcome = { kind: "refused", reason: "404" };
    at.samples = [at.heat(90)];
    await at.step();
    expect(await selectDeadChannels(at.db, ["ops"])).toEqual([{ channel: "ops", error: "404" }]);
    // A test that fails as well says nothing new, and leaves it alone no longer than before.
    const { pausedUntil } = (await at.alerts.channels())[0] ?? {};
    await at.clock.advance(MINUTE);
    await at.alerts.test("ops");
    await at.deliverDue();
    expect((await at.alerts.channels())[0]).toMatchObject({ pausedUntil });
    ops.outcome = { kind: "sent" };
    await at.alerts.test("ops");
    await at.deliverDue();
    expect(await selectDeadChannels(at.db, ["ops"])).toEqual([]);
    // What it missed is told without waiting for the end of the pause.
    await at.step();
    expect(at.told()).toEqual(["test undefined firing", "change m1 firing"]);
  });

  test("that hangs holds up no other, as many as there may be", async () => {
    const hanging = Array.from({ length: CHANNELS_MAX - 1 }, (_, n) => `slow${n}`);
    const [ops] = at.channels;
    if (ops === undefined) throw new Error("no channel");
    for (const name of hanging) {
      at.channels.push({
        ...ops,
        settings: { ...ops.settings, name },
        send: (_notification, signal) =>
          new Promise((_resolve, reject) => {
            signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
          }),
      });
    }
    const deliver = at.makeDeliverer();
    const stop = new AbortController();
    const make = (channel: string) =>
      insertDelivery(
        at.db,
        { id: at.ids.next("ald"), channel, cause: "change", alerts: [] },
        at.clock.now(),
      );
    for (const name of hanging) await make(name);
    await deliver.startDue(stop.signal);
    await make("ops");
    await deliver.startDue(stop.signal);
    await expect.poll(() => ops.sent.length).toBe(1);
    // What is still being written would meet the next test's emptying of the tables.
    stop.abort();
    await deliver.idle();
  });

  test("is told what changes soon after together", async () => {
    at.samples = [at.heat(90)];
    await at.step();
    at.samples = [at.heat(90), at.heat(91, "m2")];
    await at.step();
    at.samples = [at.heat(60), at.heat(91, "m2"), at.heat(92, "m3")];
    await at.step();
    expect(at.told()).toEqual(["change m1 firing"]);
    await at.step();
    expect(at.told()).toEqual(["change m1 firing", "change m1 resolved m2 firing m3 firing"]);
  });

  test("is reminded of what still fires, unless somebody is at it", async () => {
    at.samples = [at.heat(90)];
    await at.step();
    await at.step(4 * HOUR);
    expect(at.told()).toEqual(["change m1 firing", "repeat m1 firing"]);
    const [one] = await at.listed();
    const acknowledged = await at.call("POST", `/api/v1/alerts/${one?.id}/acknowledge`, {
      note: "on it",
    });
    expect(acknowledged).toMatchObject({
      status: 200,
      body: { acknowledged: { by: "key_op", note: "on it" } },
    });
    await at.step(4 * HOUR);
    await at.step(4 * HOUR);
    at.samples = [];
    await at.step();
    expect(at.told().slice(2)).toEqual(["change m1 resolved"]);
  });
});

describe("a silence", () => {
  test("keeps an alert from being told, shows it, and lets it be told when it ends", async () => {
    const silence = await at.call("POST", "/api/v1/alerts/silences", {
      matchers: ["rule=too_hot", "machine=m*"],
      forSeconds: 3_600,
      reason: "we know",
    });
    expect(silence).toMatchObject({
      status: 201,
      body: { matchers: ["rule=too_hot", "machine=m*"], active: true, createdBy: "key_op" },
    });
    at.samples = [at.heat(90), at.heat(90, "other")];
    await at.step();
    expect(at.told()).toEqual(["change other firing"]);
    const shown = await at.listed();
    expect(shown.map(({ labels, silencedBy }) => [labels["machine"], silencedBy])).toEqual(
      expect.arrayContaining([
        ["m1", silence.body["id"]],
        ["other", null],
      ]),
    );
    expect(await at.alerts.counts()).toContainEqual({
      severity: "warning",
      state: "silenced",
      count: 1,
    });
    await at.step(HOUR);
    expect(at.told()).toEqual(["change other firing", "change m1 firing"]);
  });

  test("that comes later ends reminders, and the end is told", async () => {
    at.samples = [at.heat(90)];
    await at.step();
    await at.alerts.silence("me", { matchers: ["rule=*"], forMs: 24 * HOUR, reason: "x" });
    await at.step(5 * HOUR);
    at.samples = [];
    await at.step();
    expect(at.told()).toEqual(["change m1 firing", "change m1 resolved"]);
  });

  test("can be ended before its time", async () => {
    const made = await at.alerts.silence("me", {
      matchers: ["rule=too_hot"],
      forMs: HOUR,
      reason: "x",
    });
    at.samples = [at.heat(90)];
    await at.step();
    expect(at.told()).toEqual([]);
    const ended = await at.call("DELETE", `/api/v1/alerts/silences/${made.silence.id}`);
    expect(ended).toMatchObject({ status: 200, body: { active: false } });
    await at.step();
    expect(at.told()).toEqual(["change m1 firing"]);
  });
});

test.each([1, 2, 3])(
  "whatever comes and fails (seed %i), firing and resolved are told in turn, and at last every end",
  async (seed) => {
    const random = seededRandom(seed);
    const [ops] = at.channels;
    if (ops === undefined) throw new Error("no channel");
    const outcomes = [
      { kind: "sent" },
      { kind: "sent" },
      { kind: "failed", reason: "503" },
      { kind: "refused", reason: "400" },
    ] as const;
    for (let turn = 0; turn < 80; turn += 1) {
      ops.outcome = pick(random, outcomes);
      const machines = ["m1", "m2", "m3"].filter(() => random.next() < 0.5);
      at.samples = random.next() < 0.1 ? null : machines.map((name) => at.heat(90, name));
      if (random.next() < 0.2) {
        // This replica dies in mid-evaluation: all of it is undone.
        await at.db.query(
          "alter table alert_evaluation add constraint broken check (false) not valid",
        );
        await at.step(5_000 + random.next() * 60_000).catch(() => undefined);
        await at.db.query("alter table alert_evaluation drop constraint broken");
      }
      await at.step(5_000 + random.next() * 60_000);
    }
    ops.outcome = { kind: "sent" };
    at.samples = [];
    for (let turn = 0; turn < 20; turn += 1) await at.step(MINUTE);
    const told = ops.sent
      .filter(({ cause }) => cause === "change")
      .flatMap(({ alerts }) => alerts)
      .map(({ labels, status }) => [labels["machine"], status]);
    expect(told.length).toBeGreaterThan(10);
    for (const machine of ["m1", "m2", "m3"]) {
      const states = told.filter(([name]) => name === machine).map(([, status]) => status);
      expect(states).toEqual(states.map((_, n) => (n % 2 === 0 ? "firing" : "resolved")));
      expect(states.length % 2).toBe(0);
    }
    const events = (await at.events()).filter((one) => one.endsWith(" m1"));
    expect(events).toEqual(events.map((_, n) => `alert.${n % 2 === 0 ? "fired" : "resolved"} m1`));
  },
);

test("what ended long ago is forgotten, and what nobody can send any more is given up", async () => {
  at.samples = [at.heat(90)];
  await at.step();
  at.samples = [];
  await at.step(MINUTE);
  const later = at.clock.now() + 31 * 24 * HOUR;
  expect(await pruneAlerts(at.db, 30 * 24 * HOUR, 10, later)).toBe(1);
  expect(await pruneDeliveries(at.db, 30 * 24 * HOUR, 10, later)).toBe(2);
  at.samples = [at.heat(90)];
  await at.clock.advance(MINUTE);
  await at.evaluate();
  expect(await killOrphans(at.db, 24 * HOUR, at.clock.now() + HOUR)).toBe(0);
  expect(await killOrphans(at.db, 24 * HOUR, at.clock.now() + 25 * HOUR)).toBe(1);
});
