import { statement, toJson, toTimestamp, type Queryable } from "../platform/db.ts";
import {
  JOB_WEBHOOK_DEFAULT_EVENTS,
  type ClaimedDelivery,
  type Delivery,
  type DeliveryState,
  type WebhookEndpoint,
} from "./model.ts";

// Endpoints --------------------------------------------------------------------------------------

interface EndpointRow {
  id: string;
  owner: string;
  url: string;
  event_types: string[];
  enabled: boolean;
  created_at: number;
}

function toEndpoint(row: EndpointRow): WebhookEndpoint {
  return {
    id: row.id,
    owner: row.owner,
    url: row.url,
    eventTypes: row.event_types,
    enabled: row.enabled,
    createdAt: row.created_at,
  };
}

/** Every column but the secret, which is read only to sign. */
const ENDPOINT_COLUMNS = "id, owner, url, event_types, enabled, created_at";

/** Inserts an endpoint unless its owner has `limit` of them already: then undefined. */
export async function insertEndpoint(
  db: Queryable,
  endpoint: Pick<WebhookEndpoint, "id" | "owner" | "url" | "eventTypes"> & {
    readonly secret: string;
  },
  limit: number,
): Promise<WebhookEndpoint | undefined> {
  const { rows } = await db.query<EndpointRow>(
    `insert into webhook_endpoints (id, owner, url, secret, event_types)
     select $1, $2, $3, $4, $5
     where (select count(*) from webhook_endpoints where owner = $2) < $6
     returning ${ENDPOINT_COLUMNS}`,
    [endpoint.id, endpoint.owner, endpoint.url, endpoint.secret, endpoint.eventTypes, limit],
  );
  return rows[0] === undefined ? undefined : toEndpoint(rows[0]);
}

/** One endpoint that `owner` (null: anybody) has. */
export async function findEndpoint(
  db: Queryable,
  id: string,
  owner: string | null,
): Promise<WebhookEndpoint | undefined> {
  const { rows } = await db.query<EndpointRow>(
    `select ${ENDPOINT_COLUMNS} from webhook_endpoints
     where id = $1 and ($2::text is null or owner = $2)`,
    [id, owner],
  );
  return rows[0] === undefined ? undefined : toEndpoint(rows[0]);
}

/** A page of endpoints, newest first. */
export async function selectEndpoints(
  db: Queryable,
  page: { readonly owner: string | null; readonly cursor: string | null; readonly limit: number },
): Promise<WebhookEndpoint[]> {
  const { rows } = await db.query<EndpointRow>(
    `select ${ENDPOINT_COLUMNS} from webhook_endpoints
     where ($1::text is null or owner = $1) and ($2::text is null or id < $2)
     order by id desc limit $3`,
    [page.owner, page.cursor, page.limit],
  );
  return rows.map(toEndpoint);
}

/** Changes what is given of an endpoint. */
export async function updateEndpoint(
  db: Queryable,
  id: string,
  owner: string | null,
  change: {
    readonly url?: string | undefined;
    readonly eventTypes?: readonly string[] | undefined;
    readonly enabled?: boolean | undefined;
  },
): Promise<WebhookEndpoint | undefined> {
  const { rows } = await db.query<EndpointRow>(
    `update webhook_endpoints set url = coalesce($3, url),
       event_types = coalesce($4, event_types), enabled = coalesce($5, enabled)
     where id = $1 and ($2::text is null or owner = $2) returning ${ENDPOINT_COLUMNS}`,
    [id, owner, change.url ?? null, change.eventTypes ?? null, change.enabled ?? null],
  );
  return rows[0] === undefined ? undefined : toEndpoint(rows[0]);
}

/** Gives an endpoint another secret. False when there is no such endpoint. */
export async function updateEndpointSecret(
  db: Queryable,
  id: string,
  owner: string | null,
  secret: string,
): Promise<boolean> {
  const { rowCount } = await db.query(
    `update webhook_endpoints set secret = $3
     where id = $1 and ($2::text is null or owner = $2)`,
    [id, owner, secret],
  );
  return rowCount > 0;
}

/** Deletes an endpoint and its deliveries. */
export async function deleteEndpoint(
  db: Queryable,
  id: string,
  owner: string | null,
): Promise<boolean> {
  const { rowCount } = await db.query(
    "delete from webhook_endpoints where id = $1 and ($2::text is null or owner = $2)",
    [id, owner],
  );
  return rowCount > 0;
}

/** Makes dead letters of everything that is on its way to an endpoint. */
export async function killPending(db: Queryable, endpointId: string, why: string): Promise<void> {
  await db.query(
    `update webhook_deliveries
     set state = 'dead', ended_at = now(), claimed_until = null, last_error = $2
     where endpoint_id = $1 and state = 'pending'`,
    [endpointId, why],
  );
}

// Fan-out ----------------------------------------------------------------------------------------

/** An event that somebody is to be told. */
export interface TellableEvent {
  readonly id: string;
  readonly type: string;
  readonly owner: string;
  readonly jobId: string | null;
}

/** That an event goes to a target. */
export interface Match {
  readonly eventId: string;
  readonly endpointId: string | null;
  readonly url: string;
  readonly owner: string;
}

// Administrators and operators see everybody's jobs, so their endpoints are told everybody's events.
const MATCHES = statement(
  "webhooks_matches",
  `with told as (
     select * from unnest($1::text[], $2::text[], $3::text[], $4::text[])
       as t (event_id, event_type, owner, job_id)
   ), overseers as (
     select 'local' as id
     union all
     select id from api_keys where role in ('admin', 'operator') and revoked_at is null
   )
   select event_id, e.id as endpoint_id, e.url, e.owner from told
   join webhook_endpoints e on e.enabled
     and (e.owner = told.owner or e.owner in (select id from overseers))
     and (e.event_types = '{}' or event_type = any(e.event_types))
   union all
   select event_id, null, j.webhook ->> 'url', j.owner from told
   join jobs j on j.id = told.job_id and j.webhook ->> 'url' is not null
     and case jsonb_typeof(j.webhook -> 'events')
           when 'array' then j.webhook -> 'events' ? event_type
           else event_type = any($5) end`,
);

/** Which targets are to be told which of the events. */
export async function selectMatches(
  db: Queryable,
  events: readonly TellableEvent[],
): Promise<Match[]> {
  const { rows } = await db.query<{
    event_id: string;
    endpoint_id: string | null;
    url: string;
    owner: string;
  }>(MATCHES, [
    events.map((event) => event.id),
    events.map((event) => event.type),
    events.map((event) => event.owner),
    events.map((event) => event.jobId),
    JOB_WEBHOOK_DEFAULT_EVENTS,
  ]);
  return rows.map((row) => ({
    eventId: row.event_id,
    endpointId: row.endpoint_id,
    url: row.url,
    owner: row.owner,
  }));
}

/** A delivery to insert. */
export interface NewDelivery extends Match {
  readonly id: string;
  readonly jobId: string | null;
  readonly eventType: string;
  readonly payload: unknown;
}

/** Inserts deliveries; one that is there already (the same event and target) stays as it is. */
export async function insertDeliveries(
  db: Queryable,
  deliveries: readonly NewDelivery[],
  nowMs: number | null,
): Promise<void> {
  if (deliveries.length === 0) return;
  await db.query(
    `insert into webhook_deliveries
       (id, owner, endpoint_id, job_id, event_id, event_type, url, payload, next_at, created_at)
     select t.*, coalesce($9::timestamptz, now()), coalesce($9::timestamptz, now())
     from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
       $7::text[], $8::jsonb[]) as t
     on conflict on constraint webhook_deliveries_once do nothing`,
    [
      deliveries.map((delivery) => delivery.id),
      deliveries.map((delivery) => delivery.owner),
      deliveries.map((delivery) => delivery.endpointId),
      deliveries.map((delivery) => delivery.jobId),
      deliveries.map((delivery) => delivery.eventId),
      deliveries.map((delivery) => delivery.eventType),
      deliveries.map((delivery) => delivery.url),
      deliveries.map((delivery) => toJson(delivery.payload)),
      toTimestamp(nowMs),
    ],
  );
}

// Deliveries -------------------------------------------------------------------------------------

/** As `targetHost` in `logic.ts`. */
export const HOST = "lower(substring(url from '^[A-Za-z]+://([^/?#]+)'))";
/** Due rows that a claim looks at, so that one host's backlog does not fill it alone. */
const CLAIM_WINDOW = 500;

const CLAIM = statement(
  "webhooks_claim",
  `with due as (
     select id, next_at, row_number() over (partition by ${HOST} order by next_at, id) as place
     from (
       select id, next_at, url from webhook_deliveries
       where state = 'pending' and next_at <= coalesce($1::timestamptz, now())
         and (claimed_until is null or claimed_until <= coalesce($1::timestamptz, now()))
         and ${HOST} <> all($2)
       order by next_at limit ${CLAIM_WINDOW}
     ) as window_of_due
   ), next as (
     select d.id from webhook_deliveries d
     join due on due.id = d.id and due.place <= $3
     where d.state = 'pending' and d.next_at <= coalesce($1::timestamptz, now())
       and (d.claimed_until is null or d.claimed_until <= coalesce($1::timestamptz, now()))
     order by due.next_at limit $4 for update of d skip locked
   )
   update webhook_deliveries d
   set attempt_count = attempt_count + 1,
     claimed_until = coalesce($1::timestamptz, now()) + make_interval(secs => $5)
   from next where d.id = next.id
   returning d.id, d.endpoint_id, d.event_id, d.payload, d.attempt_count,
     coalesce((select url from webhook_endpoints e where e.id = d.endpoint_id), d.url) as url,
     coalesce(
       (select secret from webhook_endpoints e where e.id = d.endpoint_id),
       (select webhook ->> 'secret' from jobs j where d.endpoint_id is null and j.id = d.job_id)
     ) as secret`,
);

/** What to claim. */
export interface ClaimRequest {
  readonly nowMs: number | null;
  /** Hosts that have as many tries under way as they may. */
  readonly fullHosts: readonly string[];
  readonly perHost: number;
  readonly limit: number;
  readonly claimMs: number;
}

/** Claims due deliveries for a try each (model.ts I3). An endpoint's new URL counts at once. */
export async function claimDue(db: Queryable, request: ClaimRequest): Promise<ClaimedDelivery[]> {
  const { rows } = await db.query<{
    id: string;
    endpoint_id: string | null;
    event_id: string;
    url: string;
    payload: unknown;
    attempt_count: number;
    secret: string | null;
  }>(CLAIM, [
    toTimestamp(request.nowMs),
    request.fullHosts,
    request.perHost,
    request.limit,
    request.claimMs / 1000,
  ]);
  return rows.map((row) => ({
    id: row.id,
    endpointId: row.endpoint_id,
    eventId: row.event_id,
    url: row.url,
    payload: row.payload,
    attempt: row.attempt_count,
    secret: row.secret,
  }));
}

/** What a try changes. */
export interface TryRecord {
  readonly id: string;
  readonly attempt: number;
  readonly state: DeliveryState;
  readonly status: number | null;
  readonly error: string | null;
  /** Until the next try; only for `pending`. */
  readonly delayMs: number;
  readonly nowMs: number | null;
}

/** Writes what came of a try. False when it was claimed or replayed by somebody since. */
export async function recordTry(db: Queryable, record: TryRecord): Promise<boolean> {
  const { rowCount } = await db.query(
    `update webhook_deliveries set state = $3, last_status = $4, last_error = $5,
       claimed_until = null,
       next_at = coalesce($7::timestamptz, now()) + make_interval(secs => $6),
       ended_at = case when $3 = 'pending' then null else coalesce($7::timestamptz, now()) end
     where id = $1 and attempt_count = $2 and state = 'pending' and claimed_until is not null`,
    [
      record.id,
      record.attempt,
      record.state,
      record.status,
      record.error,
      record.delayMs / 1000,
      toTimestamp(record.nowMs),
    ],
  );
  return rowCount > 0;
}

/** Gives a claim back whose try was broken off by us: it does not count as one. */
export async function releaseClaim(db: Queryable, id: string, attempt: number): Promise<void> {
  await db.query(
    `update webhook_deliveries set claimed_until = null, attempt_count = attempt_count - 1
     where id = $1 and attempt_count = $2 and state = 'pending' and claimed_until is not null`,
    [id, attempt],
  );
}

interface DeliveryRow {
  id: string;
  owner: string;
  endpoint_id: string | null;
  job_id: string | null;
  event_id: string;
  event_type: string;
  url: string;
  state: DeliveryState;
  attempt_count: number;
  next_at: number;
  last_status: number | null;
  last_error: string | null;
  created_at: number;
  ended_at: number | null;
}

const DELIVERY_COLUMNS = `id, owner, endpoint_id, job_id, event_id, event_type, url, state,
  attempt_count, next_at, last_status, last_error, created_at, ended_at`;

function toDelivery(row: DeliveryRow): Delivery {
  return {
    id: row.id,
    owner: row.owner,
    endpointId: row.endpoint_id,
    jobId: row.job_id,
    eventId: row.event_id,
    eventType: row.event_type,
    url: row.url,
    state: row.state,
    attemptCount: row.attempt_count,
    nextAt: row.next_at,
    lastStatus: row.last_status,
    lastError: row.last_error,
    createdAt: row.created_at,
    endedAt: row.ended_at,
  };
}

/** Which deliveries to list. */
export interface DeliveryFilter {
  readonly owner: string | null;
  readonly state?: DeliveryState | undefined;
  readonly jobId?: string | undefined;
  readonly endpointId?: string | undefined;
}

/** A page of deliveries, newest first. */
export async function selectDeliveries(
  db: Queryable,
  filter: DeliveryFilter,
  page: { readonly cursor: string | null; readonly limit: number },
): Promise<Delivery[]> {
  const { rows } = await db.query<DeliveryRow>(
    `select ${DELIVERY_COLUMNS} from webhook_deliveries
     where ($1::text is null or owner = $1) and ($2::text is null or state = $2)
       and ($3::text is null or job_id = $3) and ($4::text is null or endpoint_id = $4)
       and ($5::text is null or id < $5)
     order by id desc limit $6`,
    [
      filter.owner,
      filter.state ?? null,
      filter.jobId ?? null,
      filter.endpointId ?? null,
      page.cursor,
      page.limit,
    ],
  );
  return rows.map(toDelivery);
}

/** One delivery that `owner` (null: anybody) has. */
export async function findDelivery(
  db: Queryable,
  id: string,
  owner: string | null,
): Promise<Delivery | undefined> {
  const { rows } = await db.query<DeliveryRow>(
    `select ${DELIVERY_COLUMNS} from webhook_deliveries
     where id = $1 and ($2::text is null or owner = $2)`,
    [id, owner],
  );
  return rows[0] === undefined ? undefined : toDelivery(rows[0]);
}

/** Makes a delivery due now, with all its tries before it. */
export async function replayDelivery(
  db: Queryable,
  id: string,
  owner: string | null,
  nowMs: number | null,
): Promise<Delivery | undefined> {
  const { rows } = await db.query<DeliveryRow>(
    `update webhook_deliveries set state = 'pending', attempt_count = 0, claimed_until = null,
       ended_at = null, next_at = coalesce($3::timestamptz, now())
     where id = $1 and ($2::text is null or owner = $2) returning ${DELIVERY_COLUMNS}`,
    [id, owner, toTimestamp(nowMs)],
  );
  return rows[0] === undefined ? undefined : toDelivery(rows[0]);
}

/**
 * Deletes deliveries that ended and are older than `keepMs`, looking at the oldest `limit` alone.
 * Returns how many; call again while it returns any.
 */
export async function pruneDeliveries(
  db: Queryable,
  keepMs: number,
  limit: number,
  nowMs: number | null,
): Promise<number> {
  const { rowCount } = await db.query(
    `delete from webhook_deliveries where id in (
       select id from (
         select id, state, created_at from webhook_deliveries order by id limit $3) d
       where state <> 'pending'
         and created_at < coalesce($1::timestamptz, now()) - make_interval(secs => $2))`,
    [toTimestamp(nowMs), keepMs / 1000, limit],
  );
  return rowCount;
}

// The deployment's secret ------------------------------------------------------------------------

const JOB_SECRET_KEY = "webhooks.job_secret";

/** The secret that signs jobs' own webhooks; `candidate` becomes it if there is none yet. */
export async function jobSecret(db: Queryable, candidate: string): Promise<string> {
  await db.query("insert into settings (key, value) values ($1, $2) on conflict (key) do nothing", [
    JOB_SECRET_KEY,
    toJson(candidate),
  ]);
  const { rows } = await db.query<{ value: string }>("select value from settings where key = $1", [
    JOB_SECRET_KEY,
  ]);
  return rows[0]?.value ?? candidate;
}
