/** Notifications on their way, and what channels know, in SQL. */
import type { ChannelStanding } from "@holdfast/alerts";
import { toJson, toTimestamp, type Queryable } from "../platform/db.ts";
import type { Delivery, DeliveryState, NoticeCause, NoticedAlert } from "./model.ts";

interface DeliveryRow {
  readonly id: string;
  readonly channel: string;
  readonly cause: NoticeCause;
  readonly alerts: readonly NoticedAlert[];
  readonly state: DeliveryState;
  readonly attempt_count: number;
  readonly next_at: number;
  readonly last_error: string | null;
  readonly created_at: number;
  readonly ended_at: number | null;
}

function toDelivery(row: DeliveryRow): Delivery {
  return {
    id: row.id,
    channel: row.channel,
    cause: row.cause,
    alerts: row.alerts,
    state: row.state,
    attemptCount: row.attempt_count,
    nextAt: row.next_at,
    lastError: row.last_error,
    createdAt: row.created_at,
    endedAt: row.ended_at,
  };
}

/** Where each channel stands; one that was never told anything has no entry. */
export async function selectStandings(
  db: Queryable,
): Promise<ReadonlyMap<string, ChannelStanding>> {
  const { rows } = await db.query<{
    name: string;
    is_busy: boolean;
    planned_at: number | null;
    paused_until: number | null;
  }>(
    `select c.name, c.planned_at, c.paused_until, exists (
       select from alert_deliveries d
       where d.channel = c.name and d.state = 'pending' and d.cause <> 'test') as is_busy
     from alert_channels c`,
  );
  return new Map(
    rows.map((row) => [
      row.name,
      { isBusy: row.is_busy, plannedAt: row.planned_at, pausedUntil: row.paused_until },
    ]),
  );
}

/** A notification to be made. */
export type NewDelivery = Pick<Delivery, "id" | "channel" | "cause" | "alerts">;

/** Makes a notification, due at once. */
export async function insertDelivery(
  tx: Queryable,
  delivery: NewDelivery,
  nowMs: number | null,
): Promise<Delivery> {
  const { rows } = await tx.query<DeliveryRow>(
    `insert into alert_deliveries (id, channel, cause, alerts, next_at, created_at)
     values ($1, $2, $3, $4, coalesce($5::timestamptz, now()), coalesce($5::timestamptz, now()))
     returning *`,
    [delivery.id, delivery.channel, delivery.cause, toJson(delivery.alerts), toTimestamp(nowMs)],
  );
  const row = rows[0];
  if (row === undefined) throw new Error("an insert of a delivery returned no row");
  return toDelivery(row);
}

/** Remembers when a channel's last notification was made. */
export async function markPlanned(tx: Queryable, channel: string, nowMs: number): Promise<void> {
  await tx.query(
    `insert into alert_channels as c (name, planned_at) values ($1, $2)
     on conflict (name) do update set planned_at = excluded.planned_at, paused_until = null`,
    [channel, toTimestamp(nowMs)],
  );
}

/** Refreshments that arrived are of no interest once there is another. */
export async function dropArrivedRepeats(tx: Queryable, channel: string): Promise<void> {
  await tx.query(
    `delete from alert_deliveries
     where channel = $1 and cause = 'repeat' and state = 'delivered'`,
    [channel],
  );
}

/** A notification that this replica may try now. */
export interface ClaimedDelivery extends Pick<
  Delivery,
  "id" | "channel" | "cause" | "alerts" | "createdAt"
> {
  /** This try's number, from 1. */
  readonly attempt: number;
  /** An earlier try ended without an answer. */
  readonly mayHaveArrived: boolean;
}

/** Claims due notifications of the channels that this replica has (A3). */
export async function claimDue(
  db: Queryable,
  request: {
    readonly channels: readonly string[];
    readonly limit: number;
    readonly claimMs: number;
    readonly nowMs: number | null;
  },
): Promise<ClaimedDelivery[]> {
  const { rows } = await db.query<DeliveryRow & { may_have_arrived: boolean }>(
    `with due as (
       select id from alert_deliveries
       where state = 'pending' and next_at <= coalesce($1::timestamptz, now())
         and (claimed_until is null or claimed_until <= coalesce($1::timestamptz, now()))
         and channel = any($2::text[])
       order by next_at, id limit $3 for update skip locked
     )
     update alert_deliveries d set attempt_count = attempt_count + 1,
       claimed_until = coalesce($1::timestamptz, now()) + make_interval(secs => $4),
       -- Of a try whose process died nobody can tell whether it arrived.
       may_have_arrived = may_have_arrived or claimed_until is not null
     from due where d.id = due.id returning d.*`,
    [toTimestamp(request.nowMs), request.channels, request.limit, request.claimMs / 1_000],
  );
  return rows.map((row) => ({
    id: row.id,
    channel: row.channel,
    cause: row.cause,
    alerts: row.alerts,
    createdAt: row.created_at,
    attempt: row.attempt_count,
    mayHaveArrived: row.may_have_arrived,
  }));
}

/** Writes what came of a try. False when it was claimed by somebody since. */
export async function recordTry(
  tx: Queryable,
  record: {
    readonly id: string;
    readonly attempt: number;
    readonly state: DeliveryState;
    readonly error: string | null;
    readonly mayHaveArrived: boolean;
    readonly delayMs: number;
    readonly nowMs: number | null;
  },
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `update alert_deliveries set state = $3, last_error = $4, claimed_until = null,
       may_have_arrived = may_have_arrived or $5,
       next_at = coalesce($7::timestamptz, now()) + make_interval(secs => $6),
       ended_at = case when $3 = 'pending' then null else coalesce($7::timestamptz, now()) end
     where id = $1 and attempt_count = $2 and state = 'pending' and claimed_until is not null`,
    [
      record.id,
      record.attempt,
      record.state,
      record.error,
      record.mayHaveArrived,
      record.delayMs / 1_000,
      toTimestamp(record.nowMs),
    ],
  );
  return rowCount > 0;
}

/** Gives a claim back whose try was broken off by us before it began to count. */
export async function releaseClaim(db: Queryable, id: string, attempt: number): Promise<void> {
  await db.query(
    `update alert_deliveries set claimed_until = null, attempt_count = attempt_count - 1,
       may_have_arrived = true
     where id = $1 and attempt_count = $2 and state = 'pending' and claimed_until is not null`,
    [id, attempt],
  );
}

/** Writes that a channel knows of alerts that fire, surely or not. One that is gone is left out. */
export async function markTold(
  tx: Queryable,
  channel: string,
  alertIds: readonly string[],
  told: "maybe" | "yes",
  nowMs: number | null,
): Promise<void> {
  if (alertIds.length === 0) return;
  await tx.query(
    `insert into alert_told as t (alert_id, channel, told, told_at)
     select a.id, $2, $3, coalesce($4::timestamptz, now())
     from alerts a where a.id = any($1::text[])
     on conflict (alert_id, channel) do update set told_at = excluded.told_at,
       told = case when t.told = 'yes' then 'yes' else excluded.told end`,
    [alertIds, channel, told, toTimestamp(nowMs)],
  );
}

/** Writes that a channel knows that alerts are resolved. */
export async function forgetTold(
  tx: Queryable,
  channel: string,
  alertIds: readonly string[],
): Promise<void> {
  if (alertIds.length === 0) return;
  await tx.query("delete from alert_told where alert_id = any($1::text[]) and channel = $2", [
    alertIds,
    channel,
  ]);
}

/** The test of a channel that is under way. */
export async function findPendingTest(
  db: Queryable,
  channel: string,
): Promise<Delivery | undefined> {
  const { rows } = await db.query<DeliveryRow>(
    `select * from alert_deliveries
     where state = 'pending' and cause = 'test' and channel = $1 order by id limit 1`,
    [channel],
  );
  return rows[0] === undefined ? undefined : toDelivery(rows[0]);
}

/** Writes how a channel's last notification ended: arrived, or given up with a pause. */
export async function markChannel(
  tx: Queryable,
  channel: string,
  error: string | null,
  pauseMs: number,
  nowMs: number | null,
): Promise<void> {
  await tx.query(
    `update alert_channels set last_error = $2,
       paused_until = case when $2::text is null then null
         else coalesce($4::timestamptz, now()) + make_interval(secs => $3) end
     where name = $1`,
    [channel, error, pauseMs / 1_000, toTimestamp(nowMs)],
  );
}

/** Those of the channels whose last notification was given up, and why. */
export async function selectDeadChannels(
  db: Queryable,
  names: readonly string[],
): Promise<readonly { readonly channel: string; readonly error: string }[]> {
  const { rows } = await db.query<{ channel: string; error: string }>(
    `select name as channel, last_error as error from alert_channels
     where name = any($1::text[]) and last_error is not null`,
    [names],
  );
  return rows;
}

/** A page of notifications, newest first. */
export async function selectDeliveries(
  db: Queryable,
  filter: { readonly channel: string | null; readonly state: DeliveryState | null },
  page: { readonly cursor: string | null; readonly limit: number },
): Promise<Delivery[]> {
  const { rows } = await db.query<DeliveryRow>(
    `select * from alert_deliveries
     where ($1::text is null or channel = $1) and ($2::text is null or state = $2)
       and ($3::text is null or id < $3)
     order by id desc limit $4`,
    [filter.channel, filter.state, page.cursor, page.limit],
  );
  return rows.map(toDelivery);
}

/** One notification. */
export async function findDelivery(db: Queryable, id: string): Promise<Delivery | undefined> {
  const { rows } = await db.query<DeliveryRow>("select * from alert_deliveries where id = $1", [
    id,
  ]);
  return rows[0] === undefined ? undefined : toDelivery(rows[0]);
}

/** Gives up what has been on its way for long: nobody has its channel any more. Returns how many. */
export async function killOrphans(
  db: Queryable,
  olderThanMs: number,
  nowMs: number | null,
): Promise<number> {
  const { rowCount } = await db.query(
    `update alert_deliveries set state = 'dead', claimed_until = null,
       ended_at = coalesce($1::timestamptz, now()),
       last_error = 'no replica has had this channel'
     where state = 'pending' and next_at < coalesce($1::timestamptz, now()) - make_interval(secs => $2)`,
    [toTimestamp(nowMs), olderThanMs / 1_000],
  );
  return rowCount;
}

/** Forgets notifications that ended long ago, looking at the oldest `limit`. Returns how many. */
export async function pruneDeliveries(
  db: Queryable,
  keepMs: number,
  limit: number,
  nowMs: number | null,
): Promise<number> {
  const { rowCount } = await db.query(
    `delete from alert_deliveries where id in (
       select id from (
         select id, state, created_at from alert_deliveries order by id limit $3) d
       where state <> 'pending'
         and created_at < coalesce($1::timestamptz, now()) - make_interval(secs => $2))`,
    [toTimestamp(nowMs), keepMs / 1_000, limit],
  );
  return rowCount;
}
