/** Alerts in SQL. Instants go in as epoch ms, by the caller's clock: that of the evaluation (A1). */
import type { Labels, LiveAlert, Severity } from "@holdfast/alerts";
import { toJson, toTimestamp, type Queryable } from "../platform/db.ts";
import type { AlertState, StoredAlert } from "./model.ts";

interface AlertRow {
  readonly id: string;
  readonly fingerprint: string;
  readonly key: string;
  readonly rule: string;
  readonly severity: Severity;
  readonly labels: Labels;
  readonly state: AlertState;
  readonly value: number;
  readonly summary: string;
  readonly advice: string | null;
  readonly since: number;
  readonly fired_at: number | null;
  readonly clear_since: number | null;
  readonly missing_since: number | null;
  readonly resolved_at: number | null;
  readonly reason: string | null;
  readonly acknowledged_at: number | null;
  readonly acknowledged_by: string | null;
  readonly acknowledge_note: string | null;
}

/** A row as a domain value; for the other stores of this feature. */
export function toAlert(row: AlertRow): StoredAlert {
  return {
    id: row.id,
    fingerprint: row.fingerprint,
    key: row.key,
    rule: row.rule,
    severity: row.severity,
    labels: row.labels,
    state: row.state,
    value: row.value,
    summary: row.summary,
    advice: row.advice,
    since: row.since,
    firedAt: row.fired_at,
    clearSince: row.clear_since,
    missingSince: row.missing_since,
    resolvedAt: row.resolved_at,
    reason: row.reason,
    acknowledged:
      row.acknowledged_at === null
        ? null
        : {
            at: row.acknowledged_at,
            by: row.acknowledged_by ?? "",
            note: row.acknowledge_note,
          },
  };
}

/** Every alert that is there: pending and firing. */
export async function selectLive(db: Queryable): Promise<StoredAlert[]> {
  const { rows } = await db.query<AlertRow>(
    "select * from alerts where state <> 'resolved' order by id",
  );
  return rows.map(toAlert);
}

/** An alert that begins. */
export interface NewAlert {
  readonly id: string;
  readonly fingerprint: string;
  readonly advice: string | null;
  readonly alert: LiveAlert;
}

/** Writes alerts that begin. */
export async function insertAlerts(tx: Queryable, alerts: readonly NewAlert[]): Promise<void> {
  if (alerts.length === 0) return;
  await tx.query(
    `insert into alerts (id, fingerprint, advice, key, rule, severity, labels, state, value, summary,
       since, fired_at)
     select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
       $7::jsonb[], $8::text[], $9::float8[], $10::text[], $11::timestamptz[], $12::timestamptz[])`,
    [
      alerts.map(({ id }) => id),
      alerts.map(({ fingerprint }) => fingerprint),
      alerts.map(({ advice }) => advice),
      alerts.map(({ alert }) => alert.key),
      alerts.map(({ alert }) => alert.rule),
      alerts.map(({ alert }) => alert.severity),
      alerts.map(({ alert }) => toJson(alert.labels)),
      alerts.map(({ alert }) => alert.state),
      alerts.map(({ alert }) => alert.value),
      alerts.map(({ alert }) => alert.summary),
      alerts.map(({ alert }) => toTimestamp(alert.since)),
      alerts.map(({ alert }) => toTimestamp(alert.firedAt)),
    ],
  );
}

/** Writes alerts that go on, as they are now. */
export async function updateAlerts(
  tx: Queryable,
  alerts: readonly { readonly id: string; readonly alert: LiveAlert }[],
): Promise<void> {
  if (alerts.length === 0) return;
  await tx.query(
    `update alerts a set severity = n.severity, state = n.state, value = n.value,
       summary = n.summary, fired_at = n.fired_at, clear_since = n.clear_since,
       missing_since = n.missing_since
     from unnest($1::text[], $2::text[], $3::text[], $4::float8[], $5::text[], $6::timestamptz[],
       $7::timestamptz[], $8::timestamptz[])
       as n (id, severity, state, value, summary, fired_at, clear_since, missing_since)
     where a.id = n.id and a.state <> 'resolved'`,
    [
      alerts.map(({ id }) => id),
      alerts.map(({ alert }) => alert.severity),
      alerts.map(({ alert }) => alert.state),
      alerts.map(({ alert }) => alert.value),
      alerts.map(({ alert }) => alert.summary),
      alerts.map(({ alert }) => toTimestamp(alert.firedAt)),
      alerts.map(({ alert }) => toTimestamp(alert.clearSince)),
      alerts.map(({ alert }) => toTimestamp(alert.missingSince)),
    ],
  );
}

/** Writes that firing alerts are resolved. */
export async function resolveAlerts(
  tx: Queryable,
  ends: readonly { readonly id: string; readonly reason: string }[],
  nowMs: number,
): Promise<void> {
  if (ends.length === 0) return;
  await tx.query(
    `update alerts a set state = 'resolved', resolved_at = $3, reason = e.reason
     from unnest($1::text[], $2::text[]) as e (id, reason)
     where a.id = e.id and a.state = 'firing'`,
    [ends.map(({ id }) => id), ends.map(({ reason }) => reason), toTimestamp(nowMs)],
  );
}

/** Forgets pending alerts that did not last. */
export async function dropAlerts(tx: Queryable, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  await tx.query("delete from alerts where id = any($1::text[]) and state = 'pending'", [ids]);
}

/** Which alerts to list. */
export interface AlertFilter {
  readonly states: readonly AlertState[];
  readonly severities: readonly Severity[];
  readonly rule: string | null;
}

/** A page of alerts, newest first. */
export async function selectAlerts(
  db: Queryable,
  filter: AlertFilter,
  page: { readonly cursor: string | null; readonly limit: number },
): Promise<StoredAlert[]> {
  const { rows } = await db.query<AlertRow>(
    `select * from alerts
     where state = any($1::text[]) and severity = any($2::text[])
       and ($3::text is null or rule = $3) and ($4::text is null or id < $4)
     order by id desc limit $5`,
    [filter.states, filter.severities, filter.rule, page.cursor, page.limit],
  );
  return rows.map(toAlert);
}

/** One alert. */
export async function findAlert(db: Queryable, id: string): Promise<StoredAlert | undefined> {
  const { rows } = await db.query<AlertRow>("select * from alerts where id = $1", [id]);
  return rows[0] === undefined ? undefined : toAlert(rows[0]);
}

/** Writes that somebody is at an alert, unless it has ended. Without a note the one before stays. */
export async function acknowledgeAlert(
  db: Queryable,
  id: string,
  by: string,
  note: string | null,
): Promise<StoredAlert | undefined> {
  const { rows } = await db.query<AlertRow>(
    `update alerts set acknowledged_at = now(), acknowledged_by = $2,
       acknowledge_note = coalesce($3, acknowledge_note)
     where id = $1 and state <> 'resolved' returning *`,
    [id, by, note],
  );
  return rows[0] === undefined ? undefined : toAlert(rows[0]);
}

/** Alerts that one channel may have to be told of, and what it knows. */
export async function selectTellable(
  tx: Queryable,
  channel: string,
): Promise<
  readonly {
    readonly alert: StoredAlert;
    readonly told: "maybe" | "yes" | null;
    readonly toldAt: number | null;
  }[]
> {
  const { rows } = await tx.query<
    AlertRow & { told: "maybe" | "yes" | null; told_at: number | null }
  >(
    `select a.*, t.told, t.told_at from alerts a
     left join alert_told t on t.alert_id = a.id and t.channel = $1
     where a.state = 'firing'
     union all
     select a.*, t.told, t.told_at from alert_told t
     join alerts a on a.id = t.alert_id and a.state = 'resolved'
     where t.channel = $1`,
    [channel],
  );
  return rows.map((row) => ({ alert: toAlert(row), told: row.told, toldAt: row.told_at }));
}

/** Forgets alerts that ended before an instant, the oldest first. Returns how many. */
export async function pruneAlerts(
  db: Queryable,
  keepMs: number,
  limit: number,
  nowMs: number | null,
): Promise<number> {
  const { rowCount } = await db.query(
    `delete from alerts where id in (
       select id from alerts
       where resolved_at < coalesce($1::timestamptz, now()) - make_interval(secs => $2)
       order by resolved_at limit $3)`,
    [toTimestamp(nowMs), keepMs / 1_000, limit],
  );
  return rowCount;
}
