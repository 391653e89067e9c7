/** One evaluation: look, decide, and write what has changed, with what is to be told of it (A1, A2). */
import { createHash } from "node:crypto";
import {
  evaluateAlerts,
  overSummary,
  planNotification,
  silenceOf,
  type AlertChange,
  type AlertRule,
  type ChannelSettings,
  type ChannelStanding,
  type LiveAlert,
  type NoticeItem,
  type TellableAlert,
} from "@holdfast/alerts";
import { EVENT_VERSION, type EventData, type EventType } from "@holdfast/contract";
import type { IdSource } from "@holdfast/runtime";
import type { Db, Transaction } from "../platform/db.ts";
import type { Log } from "../platform/log.ts";
import { appendEvents, type NewEvent } from "../platform/outbox.ts";
import {
  dropAlerts,
  insertAlerts,
  resolveAlerts,
  selectLive,
  selectTellable,
  updateAlerts,
} from "./alert-store.ts";
import {
  dropArrivedRepeats,
  insertDelivery,
  markPlanned,
  selectStandings,
} from "./delivery-store.ts";
import { readInstant, takeTurn, writeEvaluation } from "./evaluation-store.ts";
import { EVALUATE_EVERY_MS, GROUP_MS, type NoticedAlert, type StoredAlert } from "./model.ts";
import type { RuleService } from "./rule-service.ts";
import { selectActiveSilences, type StoredSilence } from "./silence-store.ts";
import type { Observer } from "./sources.ts";

/** What evaluating needs. */
export interface EvaluationDeps {
  readonly db: Db;
  readonly ids: IdSource;
  readonly log: Log;
  readonly rules: Pick<RuleService, "inForce">;
  readonly observer: Observer;
  readonly channels: readonly ChannelSettings[];
  /** Told after commit. */
  readonly onEvents: (written: readonly EventType[]) => void;
  /** Notifications were made. */
  readonly onDue: () => void;
  /** Only tests: the instant that counts instead of the database's own. */
  readonly databaseNow?: (() => number) | undefined;
}

/** What an evaluation came to; undefined: it was another replica's turn, or nobody's yet. */
export type Evaluated =
  { readonly changes: readonly AlertChange[]; readonly notifications: number } | undefined;

/** Events that nobody's job is about, as those of machines: seen by whoever sees everybody's. */
const EVENT_OWNER = "fleet";
/** Another replica's loop may be a little early. */
const REST_SHARE = 0.8;

/** Looks at all rules once, if it is this replica's turn. */
export async function evaluateOnce(deps: EvaluationDeps): Promise<Evaluated> {
  const nowMs = deps.databaseNow?.() ?? null;
  let written: EventType[] = [];
  const evaluated = await deps.db.transaction(async (tx): Promise<Evaluated> => {
    written = [];
    if (!(await takeTurn(tx, EVALUATE_EVERY_MS * REST_SHARE, nowMs))) return undefined;
    const rules = await deps.rules.inForce(tx);
    const observation = await deps.observer.observe(metricsOf(rules));
    const now = await readInstant(tx, nowMs);
    const live = await selectLive(tx);
    const seen = evaluateAlerts(rules, observation, { alerts: live.filter(isLive) }, now);
    const silences = await selectActiveSilences(tx, now);
    const events = await writeChanges(deps, tx, { ...seen, live, rules, silences, now });
    await appendEvents(tx, events);
    written = [...new Set(events.map(({ type }) => type as EventType))];
    const notifications = await planAll(deps, tx, silences, now);
    const omitted = Object.fromEntries(seen.omitted.map(({ rule, count }) => [rule, count]));
    await writeEvaluation(tx, { evaluatedAt: now, told: observation.told, omitted });
    return { changes: seen.changes, notifications };
  });
  if (evaluated === undefined) return undefined;
  for (const change of evaluated.changes) logChange(deps.log, change);
  if (written.length > 0) deps.onEvents(written);
  if (evaluated.notifications > 0) deps.onDue();
  return evaluated;
}

function metricsOf(rules: readonly AlertRule[]): ReadonlySet<string> {
  return new Set(
    rules.flatMap(({ when, alongside }) => [when.metric, ...alongside.map(({ metric }) => metric)]),
  );
}

/** The rows that were read are all of this kind; the compiler is told so. */
function isLive(alert: StoredAlert): alert is StoredAlert & LiveAlert {
  return alert.state !== "resolved";
}

function fingerprintOf(key: string): string {
  return createHash("sha256").update(key).digest("hex");
}

async function writeChanges(
  deps: EvaluationDeps,
  tx: Transaction,
  seen: {
    readonly changes: readonly AlertChange[];
    readonly memory: { readonly alerts: readonly LiveAlert[] };
    readonly live: readonly StoredAlert[];
    readonly rules: readonly AlertRule[];
    readonly silences: readonly StoredSilence[];
    readonly now: number;
  },
): Promise<NewEvent[]> {
  const { now, silences } = seen;
  const known = new Map(seen.live.map((alert) => [alert.key, alert]));
  const adviceOf = new Map(seen.rules.map(({ name, advice }) => [name, advice]));
  const fresh = seen.memory.alerts
    .filter(({ key }) => !known.has(key))
    .map((alert) => ({
      id: deps.ids.next("alt"),
      fingerprint: fingerprintOf(alert.key),
      advice: adviceOf.get(alert.rule) ?? null,
      alert,
    }));
  const idOf = new Map<string, string>(seen.live.map(({ key, id }) => [key, id]));
  for (const { id, alert } of fresh) idOf.set(alert.key, id);
  const toId = (alert: LiveAlert): string => idOf.get(alert.key) ?? "";
  await resolveAlerts(
    tx,
    seen.changes.flatMap((change) =>
      change.kind === "resolved" ? [{ id: toId(change.alert), reason: change.reason }] : [],
    ),
    now,
  );
  const dropped = seen.changes.filter(({ kind }) => kind === "dropped");
  await dropAlerts(
    tx,
    dropped.map(({ alert }) => toId(alert)),
  );
  await insertAlerts(tx, fresh);
  await updateAlerts(
    tx,
    seen.memory.alerts
      .filter((alert) => hasChanged(known.get(alert.key), alert))
      .map((alert) => ({ id: toId(alert), alert })),
  );
  return seen.changes.flatMap((change): NewEvent[] => {
    const { alert } = change;
    const facts = {
      alertId: toId(alert),
      rule: alert.rule,
      severity: alert.severity,
      labels: { ...alert.labels },
      summary: alert.summary,
    };
    if (change.kind === "fired") {
      const silenced = silenceOf(alert, silences, now) !== undefined;
      return [toEvent(deps.ids, "alert.fired", { ...facts, value: alert.value, silenced })];
    }
    if (change.kind !== "resolved") return [];
    const { reason } = change;
    const firedForMs = now - (alert.firedAt ?? now);
    const summary = overSummary({ summary: alert.summary, reason, firedForMs });
    return [toEvent(deps.ids, "alert.resolved", { ...facts, summary, reason, firedForMs })];
  });
}

function toEvent<T extends "alert.fired" | "alert.resolved">(
  ids: IdSource,
  type: T,
  payload: EventData<T>,
): NewEvent {
  const version = EVENT_VERSION;
  return { id: ids.next("evt"), type, version, owner: EVENT_OWNER, jobId: null, payload };
}

/** Whether an alert that goes on is to be written: what is new is not known. */
function hasChanged(before: StoredAlert | undefined, after: LiveAlert): boolean {
  if (before === undefined) return false;
  const fields = [
    "severity",
    "state",
    "value",
    "summary",
    "firedAt",
    "clearSince",
    "missingSince",
  ] as const;
  return fields.some((field) => before[field] !== after[field]);
}

/** Makes the next notification of every channel that is to be told something. */
async function planAll(
  deps: EvaluationDeps,
  tx: Transaction,
  silences: readonly StoredSilence[],
  now: number,
): Promise<number> {
  if (deps.channels.length === 0) return 0;
  const standings = await selectStandings(tx);
  const unknown: ChannelStanding = { isBusy: false, plannedAt: null, pausedUntil: null };
  let made = 0;
  for (const channel of deps.channels) {
    const standing = standings.get(channel.name) ?? unknown;
    if (standing.isBusy) continue; // Not even asked what there is to tell: it could not be sent.
    const tellable = await selectTellable(tx, channel.name);
    const alerts = tellable.map(({ alert, told, toldAt }): TellableAlert => {
      const { id, severity, resolvedAt, acknowledged } = alert;
      return {
        id,
        severity,
        state: alert.state === "resolved" ? "resolved" : "firing",
        firedAt: alert.firedAt ?? now,
        resolvedAt,
        isSilenced: silenceOf(alert, silences, now) !== undefined,
        isAcknowledged: acknowledged !== null,
        told: told ?? "no",
        toldAt,
      };
    });
    const policy = {
      minSeverity: channel.minSeverity,
      groupMs: GROUP_MS,
      repeatMs: channel.repeatMs,
      repeats: channel.type === "alertmanager" ? "refresh" : "remind",
    } as const;
    const plan = planNotification(policy, alerts, standing, now);
    if (plan.kind === "nothing") continue;
    const byId = new Map(tellable.map(({ alert }) => [alert.id, alert]));
    if (plan.cause === "repeat") await dropArrivedRepeats(tx, channel.name);
    await markPlanned(tx, channel.name, now);
    const delivery = {
      id: deps.ids.next("ald"),
      channel: channel.name,
      cause: plan.cause,
      alerts: plan.items.flatMap((item) => toNoticed(item, byId.get(item.id), now)),
    };
    await insertDelivery(tx, delivery, now);
    made += 1;
  }
  return made;
}

function toNoticed(
  item: NoticeItem,
  alert: StoredAlert | undefined,
  now: number,
): readonly NoticedAlert[] {
  if (alert === undefined) return [];
  const { fingerprint, rule, severity, labels, advice, value } = alert;
  const firedAt = alert.firedAt ?? now;
  const isOver = item.status === "resolved";
  const reason = alert.reason ?? "it is over";
  const firedForMs = (alert.resolvedAt ?? now) - firedAt;
  const summary = isOver
    ? overSummary({ summary: alert.summary, reason, firedForMs })
    : alert.summary;
  return [
    {
      ...item,
      fingerprint,
      rule,
      severity,
      labels,
      summary,
      advice,
      value: isOver ? null : value,
      lastValue: isOver ? value : null,
      firedAt,
      resolvedAt: isOver ? alert.resolvedAt : null,
      reason: isOver ? alert.reason : null,
    },
  ];
}

function logChange(log: Log, change: AlertChange): void {
  const { rule, severity, labels, summary } = change.alert;
  const fields = { rule, severity, labels, summary };
  if (change.kind === "fired") log.warn(fields, "alert fired");
  else if (change.kind === "resolved") {
    log.info({ ...fields, reason: change.reason }, "alert resolved");
  } else log.debug(fields, "alert pending or dropped");
}
