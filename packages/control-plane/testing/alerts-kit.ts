/** Alerts on a database of their own, with samples and channels that do as a test says. */
import type { AlertRule, Sample } from "@holdfast/alerts";
import type { AlertView } from "@holdfast/contract";
import { createIdSource, seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { createFakeClock } from "@holdfast/runtime/testing";
import {
  createTestDatabase,
  emptyTables,
  type TestDatabase,
} from "../../../test/support/test-database.ts";
import { createDeliverer } from "../src/alerts/delivery-service.ts";
import { evaluateOnce } from "../src/alerts/evaluation-service.ts";
import type { AlertChannel, Notification, SendOutcome } from "../src/alerts/model.ts";
import { alertRoutes } from "../src/alerts/routes.ts";
import { createRuleService } from "../src/alerts/rule-service.ts";
import { createAlertService } from "../src/alerts/service.ts";
import { buildHttpServer } from "../src/platform/http/server.ts";
import { SILENT_LOG } from "../src/platform/log.ts";
import { TEST_ACCESS } from "./test-access.ts";

const never = new AbortController().signal;
const MINUTE = 60_000;

/** `too_hot`: above 80 for a minute, resolved at 70; nothing else is in force. */
export const HEAT_RULE: AlertRule = {
  name: "too_hot",
  severity: "warning",
  summary: "{machine} has {value} degrees",
  advice: "Open a window.",
  when: { metric: "heat", where: {}, comparison: "above", value: 80, resolveValue: 70 },
  alongside: [],
  forMs: 0,
  resolveAfterMs: 0,
  noDataMs: 5 * MINUTE,
  labels: {},
};

/** A channel that keeps what it is sent, and answers as a test says. */
export interface FakeChannel extends AlertChannel {
  readonly sent: Notification[];
  outcome: SendOutcome | "hang";
}

function fakeChannel(name: string, more: Partial<AlertChannel["settings"]> = {}): FakeChannel {
  const sent: Notification[] = [];
  const channel: FakeChannel = {
    settings: {
      name,
      type: "webhook",
      url: "http://127.0.0.1/",
      secretFile: "/none",
      minSeverity: "warning",
      repeatMs: 240 * MINUTE,
      ...more,
    } as AlertChannel["settings"],
    target: "127.0.0.1",
    sent,
    outcome: { kind: "sent" },
    async send(notification, signal) {
      if (channel.outcome === "hang") {
        await new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
        });
      }
      if (channel.outcome === "hang") throw new Error("not reached");
      if (channel.outcome.kind === "sent") sent.push(notification);
      return channel.outcome;
    },
    close: async () => undefined,
  };
  return channel;
}

/** See {@link createAlertsKit}. */
export type AlertsKit = Awaited<ReturnType<typeof createAlertsKit>>;
/** What one test works on. */
export type AlertsBench = Awaited<ReturnType<AlertsKit["open"]>>;

/** Opens a database; `open` empties it and makes everything for one test. */
export async function createAlertsKit() {
  const database = await createTestDatabase();
  return {
    db: database.db,
    open: (rules: readonly AlertRule[] = [HEAT_RULE]) => openBench(database, rules),
    close: () => database.drop(),
  };
}

async function openBench({ db }: TestDatabase, rules: readonly AlertRule[]) {
  await emptyTables(db, [
    "alerts",
    "alert_told",
    "alert_channels",
    "alert_deliveries",
    "alert_silences",
    "alert_rules",
    "alert_evaluation",
    "alert_job_ends",
    "events",
  ]);
  const clock = createFakeClock(systemClock.now());
  const ids = createIdSource(clock, seededRandom(5));
  const databaseNow = (): number => clock.now();
  const channels = [fakeChannel("ops"), fakeChannel("boss", { minSeverity: "critical" })];
  /** What a test changes. */
  const state: { samples: Sample[] | null } = { samples: [] };
  const observer = {
    observe: async () =>
      state.samples === null
        ? { told: [], samples: [] }
        : { told: ["heat", ...state.samples.map(({ metric }) => metric)], samples: state.samples },
  };
  const fileRules = rules.map((rule) => ({ kind: "rule", rule }) as const);
  const ruleService = createRuleService({ db, log: SILENT_LOG, fileRules });
  const onDue = (): void => undefined;
  const alerts = createAlertService({
    db,
    ids,
    rules: ruleService,
    channels,
    onDue,
    databaseNow,
  });
  const makeDeliverer = () =>
    createDeliverer({ db, random: seededRandom(2), log: SILENT_LOG, channels, databaseNow });
  const deliverer = makeDeliverer();
  const evaluate = () =>
    evaluateOnce({
      db,
      ids,
      log: SILENT_LOG,
      rules: { inForce: async () => rules },
      observer,
      channels: channels.map(({ settings }) => settings),
      onEvents: () => undefined,
      onDue,
      databaseNow,
    });
  const server = buildHttpServer({
    log: SILENT_LOG,
    clock: systemClock,
    ids,
    bodyLimitBytes: 100_000,
  });
  const routed = { access: TEST_ACCESS, alerts, rules: ruleService, clock };
  await server.app.register(alertRoutes, routed);
  const deliverDue = async (): Promise<number> => {
    const started = await deliverer.startDue(never);
    await deliverer.idle();
    return started;
  };

  return Object.assign(state, {
    db,
    ids,
    clock,
    alerts,
    rules: ruleService,
    channels,
    server,
    makeDeliverer,
    evaluate,
    deliverDue,
    heat: (value: number, machine = "m1"): Sample => ({
      metric: "heat",
      labels: { machine },
      value,
    }),
    /** Moves the time on, looks, and sends what is due. */
    async step(ms = 10_000) {
      await clock.advance(ms);
      const evaluated = await evaluate();
      await deliverDue();
      return evaluated;
    },
    /** What a channel was sent: `change m1 firing`. */
    told: (index = 0): string[] =>
      (channels[index]?.sent ?? []).map(({ cause, alerts: items }) =>
        [cause, ...items.map((one) => `${one.labels["machine"]} ${one.status}`)].join(" "),
      ),
    async events(): Promise<string[]> {
      const { rows } = await db.query<{ type: string; machine: string }>(
        "select type, payload -> 'labels' ->> 'machine' as machine from events order by seq",
      );
      return rows.map(({ type, machine }) => `${type} ${machine}`);
    },
    async call(method: "GET" | "POST" | "PUT" | "DELETE", url: string, body?: object) {
      const answer = await server.app.inject({
        method,
        url,
        headers: { "x-test-caller": "key_op/operator" },
        ...(body === undefined ? {} : { payload: body }),
      });
      const json = answer.body === "" ? null : (answer.json() as unknown);
      return { status: answer.statusCode, body: json as Record<string, unknown> };
    },
    async listed(query = ""): Promise<readonly AlertView[]> {
      const answer = await server.app.inject({
        url: `/api/v1/alerts${query}`,
        headers: { "x-test-caller": "key_op/operator" },
      });
      return (answer.json() as { items: AlertView[] }).items;
    },
    async close() {
      await server.close();
    },
  });
}
