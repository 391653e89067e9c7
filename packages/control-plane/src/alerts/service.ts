/** Alerts as operators use them: look, acknowledge, silence, try the channels. */
import {
  entryName,
  isAtLeast,
  matches,
  SEVERITIES,
  SILENCE_MS_MAX,
  silenceOf,
  type ChannelSettings,
  type Severity,
} from "@holdfast/alerts";
import { ALERT_STATES, HoldfastError } from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";
import { toPage, type PageRequest } from "../access/pages.ts";
import type { Db } from "../platform/db.ts";
import { acknowledgeAlert, findAlert, selectAlerts, selectLive } from "./alert-store.ts";
import {
  findDelivery,
  findPendingTest,
  insertDelivery,
  selectDeliveries,
  selectStandings,
} from "./delivery-store.ts";
import { readEvaluation, readInstant, type LastEvaluation } from "./evaluation-store.ts";
import {
  MAX_SILENCES,
  type AlertChannel,
  type AlertState,
  type Delivery,
  type DeliveryState,
  type NoticedAlert,
  type StoredAlert,
} from "./model.ts";
import type { RuleService } from "./rule-service.ts";
import { readMatchers, unknownRule } from "./silence-matchers.ts";
import {
  endSilence,
  insertSilence,
  selectActiveSilences,
  selectSilences,
  type StoredSilence,
} from "./silence-store.ts";

interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** An alert, and the silence that keeps it from being delivered now. */
export interface ShownAlert {
  readonly alert: StoredAlert;
  readonly silencedBy: string | null;
}

/** Where alerts are delivered to, and how that stands. */
export interface ShownChannel {
  readonly settings: ChannelSettings;
  readonly target: string;
  readonly pausedUntil: number | null;
}

/** What the last evaluation saw, and the alerts there are now, by rule. */
export interface RuleFacts {
  readonly last: LastEvaluation | undefined;
  readonly alertsByRule: ReadonlyMap<string, number>;
}

/** How many alerts there are, by severity and state; `silenced` ones fire and are not delivered. */
export interface AlertCount {
  readonly severity: Severity;
  readonly state: "pending" | "firing" | "silenced";
  readonly count: number;
}

/** A silence that was made, and how many of the alerts of now it fits. */
export interface MadeSilence {
  readonly silence: StoredSilence;
  readonly fitsNow: number;
}

interface SilenceActions {
  /**
   * Throws `invalid_request` for what is no matcher, for a rule that there is not, and when there are too
   * many silences.
   */
  silence(
    by: string,
    wanted: {
      readonly matchers: readonly string[];
      readonly forMs: number;
      readonly reason: string;
    },
  ): Promise<MadeSilence>;
  listSilences(page: PageRequest): Promise<Page<StoredSilence>>;
  endSilence(id: string): Promise<StoredSilence>;
}

interface ChannelActions {
  channels(): Promise<readonly ShownChannel[]>;
  /** Sends a test to one channel, or to all; one that is under way stands for another. Throws `alert_channels_missing`. */
  test(channel: string | undefined): Promise<readonly Delivery[]>;
  listDeliveries(
    filter: { readonly channel: string | null; readonly state: DeliveryState | null },
    page: PageRequest,
  ): Promise<Page<Delivery>>;
  getDelivery(id: string): Promise<Delivery>;
}

/** Alerts for operators; what is not there is `not_found`. */
export interface AlertService extends SilenceActions, ChannelActions {
  /** Throws `invalid_request` for a rule that there is not and of which no alert is kept. */
  list(
    filter: {
      readonly states: readonly AlertState[];
      readonly leastSeverity: Severity;
      readonly rule: string | null;
    },
    page: PageRequest,
  ): Promise<Page<ShownAlert>>;
  get(id: string): Promise<ShownAlert>;
  /** No reminders any more. Throws `invalid_request` for one that has ended. */
  acknowledge(id: string, by: string, note: string | null): Promise<ShownAlert>;
  ruleFacts(): Promise<RuleFacts>;
  counts(): Promise<readonly AlertCount[]>;
}

/** What the service needs. */
export interface AlertServiceDeps {
  readonly db: Db;
  readonly ids: IdSource;
  readonly rules: Pick<RuleService, "list">;
  readonly channels: readonly AlertChannel[];
  /** Told that a notification is due now. */
  readonly onDue: () => void;
  /** Only tests: the instant that counts instead of the database's own. */
  readonly databaseNow?: (() => number) | undefined;
}

/** Makes the service. */
export function createAlertService(deps: AlertServiceDeps): AlertService {
  const { db } = deps;
  const nowMs = (): number | null => deps.databaseNow?.() ?? null;

  const shown = async (alerts: readonly StoredAlert[]): Promise<readonly ShownAlert[]> => {
    const silences = await selectActiveSilences(db, nowMs());
    const now = await readInstant(db, nowMs());
    return alerts.map((alert) => ({
      alert,
      silencedBy: alert.state === "resolved" ? null : (silenceOf(alert, silences, now)?.id ?? null),
    }));
  };
  const showOne = async (alert: StoredAlert): Promise<ShownAlert> => {
    const [one] = await shown([alert]);
    return found(one, alert.id);
  };

  return {
    async list({ states, leastSeverity, rule }, page) {
      const severities = SEVERITIES.filter((one) => isAtLeast(one, leastSeverity));
      const rows = await selectAlerts(
        db,
        { states, severities, rule },
        { cursor: page.cursor, limit: page.limit + 1 },
      );
      const { items, next } = toPage(rows, page.limit);
      if (items.length === 0 && rule !== null) await expectRule(deps, rule);
      return { items: await shown(items), next };
    },
    get: async (id) => await showOne(found(await findAlert(db, id), id)),
    async acknowledge(id, by, note) {
      const acknowledged = await acknowledgeAlert(db, id, by, note);
      if (acknowledged !== undefined) return await showOne(acknowledged);
      found(await findAlert(db, id), id);
      throw new HoldfastError("invalid_request", `${id} is resolved: there is nothing to do`);
    },
    async ruleFacts() {
      const alertsByRule = new Map<string, number>();
      for (const { rule } of await selectLive(db)) {
        alertsByRule.set(rule, (alertsByRule.get(rule) ?? 0) + 1);
      }
      return { last: await readEvaluation(db), alertsByRule };
    },
    counts: async () => countAlerts(await shown(await selectLive(db))),
    ...silenceActions(deps),
    ...channelActions(deps),
  };
}

async function ruleNames({ rules }: AlertServiceDeps): Promise<readonly string[]> {
  return (await rules.list()).map(({ entry }) => entryName(entry));
}

/** Alerts of a rule that is gone are listed as long as they are kept. */
async function expectRule(deps: AlertServiceDeps, rule: string): Promise<void> {
  const names = await ruleNames(deps);
  if (names.includes(rule)) return;
  const any = { states: ALERT_STATES, severities: SEVERITIES, rule };
  const kept = await selectAlerts(deps.db, any, { cursor: null, limit: 1 });
  if (kept.length === 0) throw unknownRule(rule, names);
}

function silenceActions(deps: AlertServiceDeps): SilenceActions {
  const { db, ids, databaseNow } = deps;
  const nowMs = (): number | null => databaseNow?.() ?? null;
  return {
    async silence(by, wanted) {
      const { reason, forMs } = wanted;
      const live = await selectLive(db);
      // A rule that was just taken away still has its alerts until the next evaluation.
      const rules = new Set([...(await ruleNames(deps)), ...live.map(({ rule }) => rule)]);
      const matchers = readMatchers(wanted.matchers, [...rules]);
      if (forMs > SILENCE_MS_MAX) throw new HoldfastError("invalid_request", "at most 90 days");
      const silence = { id: ids.next("sil"), matchers, reason, createdBy: by };
      const made = await insertSilence(db, silence, forMs, MAX_SILENCES, nowMs());
      if (made !== undefined) {
        return { silence: made, fitsNow: live.filter((alert) => matches(matchers, alert)).length };
      }
      const message = `expected at most ${MAX_SILENCES} silences in force; end one first`;
      throw new HoldfastError("invalid_request", message);
    },
    async listSilences(page) {
      const rows = await selectSilences(db, { cursor: page.cursor, limit: page.limit + 1 });
      return toPage(rows, page.limit);
    },
    endSilence: async (id) => found(await endSilence(db, id, nowMs()), id),
  };
}

function channelActions(deps: AlertServiceDeps): ChannelActions {
  const { db, ids, channels } = deps;
  const nowMs = (): number | null => deps.databaseNow?.() ?? null;
  return {
    async channels() {
      const standings = await selectStandings(db);
      return channels.map(({ settings, target }) => ({
        settings,
        target,
        pausedUntil: standings.get(settings.name)?.pausedUntil ?? null,
      }));
    },
    async test(name) {
      if (channels.length === 0) {
        const message = "no channel is configured; name a file of them in HOLDFAST_ALERT_CHANNELS";
        throw new HoldfastError("alert_channels_missing", message);
      }
      const wanted = channels.filter(
        ({ settings }) => name === undefined || settings.name === name,
      );
      if (wanted.length === 0) {
        const names = channels.map(({ settings }) => settings.name).join(", ");
        throw new HoldfastError("not_found", `there is no channel ${name}; there are ${names}`);
      }
      const now = await readInstant(db, nowMs());
      const made: Delivery[] = [];
      for (const { settings } of wanted) {
        // One at a time: tests of a channel that hangs must not take the room of notifications.
        const pending = await findPendingTest(db, settings.name);
        if (pending !== undefined) {
          made.push(pending);
          continue;
        }
        const alerts = [testAlert(ids.next("alt"), settings.name, now)];
        const delivery = {
          id: ids.next("ald"),
          channel: settings.name,
          cause: "test",
          alerts,
        } as const;
        made.push(await insertDelivery(db, delivery, nowMs()));
      }
      deps.onDue();
      return made;
    },
    async listDeliveries(filter, page) {
      const rows = await selectDeliveries(db, filter, {
        cursor: page.cursor,
        limit: page.limit + 1,
      });
      return toPage(rows, page.limit);
    },
    getDelivery: async (id) => found(await findDelivery(db, id), id),
  };
}

function countAlerts(alerts: readonly ShownAlert[]): AlertCount[] {
  return SEVERITIES.flatMap((severity) =>
    (["pending", "firing", "silenced"] as const).map((state) => ({
      severity,
      state,
      count: alerts.filter(({ alert, silencedBy }) => {
        const isSilenced = alert.state === "firing" && silencedBy !== null;
        return alert.severity === severity && (isSilenced ? "silenced" : alert.state) === state;
      }).length,
    })),
  );
}

function testAlert(id: string, channel: string, now: number): NoticedAlert {
  return {
    id,
    status: "firing",
    fingerprint: id,
    rule: "test",
    severity: "info",
    labels: { channel },
    summary: `This is a test of the channel ${channel}; nothing is wrong`,
    advice: null,
    value: 1,
    lastValue: null,
    firedAt: now,
    resolvedAt: null,
    reason: null,
  };
}

function found<T>(value: T | undefined, id: string): T {
  if (value === undefined) throw new HoldfastError("not_found", `there is no ${id}`);
  return value;
}
