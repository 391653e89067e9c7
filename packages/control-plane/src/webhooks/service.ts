import { HoldfastError } from "@holdfast/contract";
import type { Clock, IdSource } from "@holdfast/runtime";
import type { GuardedFetch } from "../access/guarded-fetch.ts";
import { toInstant, toPage, type PageRequest } from "../access/pages.ts";
import type { Db } from "../platform/db.ts";
import type { WebhookPayload } from "./fan-out.ts";
import { countDead } from "./dead-store.ts";
import { MAX_ENDPOINTS_PER_OWNER, type Delivery, type WebhookEndpoint } from "./model.ts";
import { newSecret } from "./signing.ts";
import {
  deleteEndpoint,
  findDelivery,
  findEndpoint,
  insertDeliveries,
  insertEndpoint,
  jobSecret,
  killPending,
  replayDelivery,
  selectDeliveries,
  selectEndpoints,
  updateEndpoint,
  updateEndpointSecret,
  type DeliveryFilter,
} from "./store.ts";

/** What may be changed of an endpoint. */
export interface EndpointChange {
  readonly url?: string | undefined;
  readonly eventTypes?: readonly string[] | undefined;
  readonly enabled?: boolean | undefined;
}

interface Page<T> {
  readonly items: readonly T[];
  readonly next: string | null;
}

/** Webhook endpoints and deliveries. `owner` null means anybody's; what is not there is `not_found`. */
export interface WebhookService {
  /** Throws `url_forbidden`. The secret is in no other answer. */
  create(
    owner: string,
    wanted: { readonly url: string; readonly eventTypes: readonly string[] },
  ): Promise<{ readonly endpoint: WebhookEndpoint; readonly secret: string }>;
  list(owner: string | null, page: PageRequest): Promise<Page<WebhookEndpoint>>;
  get(id: string, owner: string | null): Promise<WebhookEndpoint>;
  update(id: string, owner: string | null, change: EndpointChange): Promise<WebhookEndpoint>;
  remove(id: string, owner: string | null): Promise<void>;
  /** A new secret; the one before signs nothing any more. */
  renewSecret(id: string, owner: string | null): Promise<string>;
  /** Sends a `webhook.ping` to an endpoint. */
  ping(id: string, owner: string | null): Promise<Delivery>;
  listDeliveries(filter: DeliveryFilter, page: PageRequest): Promise<Page<Delivery>>;
  getDelivery(id: string, owner: string | null): Promise<Delivery>;
  /** Sends a delivery again, whatever became of it, under the same `webhook-id`. */
  replay(id: string, owner: string | null): Promise<Delivery>;
  /** What was given up within a time, by host; at most so many hosts. */
  deadWithin(ms: number): Promise<readonly { readonly host: string; readonly count: number }[]>;
  /** The secret that signs the webhooks that jobs bring themselves. */
  jobSecret(): Promise<string>;
}

/** How to make a {@link WebhookService}. */
export interface WebhookServiceOptions {
  readonly db: Db;
  readonly ids: IdSource;
  readonly clock: Pick<Clock, "now">;
  readonly fetch: Pick<GuardedFetch, "check">;
  /** Told that a delivery is due now. */
  readonly onDue: () => void;
  /** Only tests: the instant that counts instead of the database's own. */
  readonly databaseNow?: () => number;
}

/** More hosts than this tell nobody anything further. */
const DEAD_HOSTS_MAX = 100;

/** Type of the event that `ping` sends; it is no event of the outbox. */
export const PING_TYPE = "webhook.ping";

/** Makes the service. */
export function createWebhookService(options: WebhookServiceOptions): WebhookService {
  const { db, ids } = options;
  const nowMs = (): number | null => options.databaseNow?.() ?? null;

  const checkUrl = async (url: string): Promise<void> => {
    const decision = await options.fetch.check(url);
    if (decision.kind === "forbidden") throw new HoldfastError("url_forbidden", decision.reason);
  };

  return {
    async create(owner, wanted) {
      await checkUrl(wanted.url);
      const secret = newSecret();
      const id = ids.next("whe");
      const endpoint = await insertEndpoint(
        db,
        { id, owner, url: wanted.url, eventTypes: wanted.eventTypes, secret },
        MAX_ENDPOINTS_PER_OWNER,
      );
      if (endpoint !== undefined) return { endpoint, secret };
      throw new HoldfastError(
        "invalid_request",
        `a caller may have ${MAX_ENDPOINTS_PER_OWNER} webhook endpoints; delete one first`,
      );
    },
    async list(owner, page) {
      const rows = await selectEndpoints(db, { owner, cursor: page.cursor, limit: page.limit + 1 });
      return toPage(rows, page.limit);
    },
    get: async (id, owner) => found(await findEndpoint(db, id, owner), id),
    async update(id, owner, change) {
      if (change.url !== undefined) await checkUrl(change.url);
      return db.transaction(async (tx) => {
        const endpoint = found(await updateEndpoint(tx, id, owner, change), id);
        if (change.enabled === false) await killPending(tx, id, "the endpoint was disabled");
        return endpoint;
      });
    },
    async remove(id, owner) {
      found((await deleteEndpoint(db, id, owner)) || undefined, id);
    },
    async renewSecret(id, owner) {
      const secret = newSecret();
      found((await updateEndpointSecret(db, id, owner, secret)) || undefined, id);
      return secret;
    },
    async ping(id, owner) {
      const endpoint = found(await findEndpoint(db, id, owner), id);
      const delivery = pingDelivery(endpoint, ids, options.clock.now());
      await insertDeliveries(db, [delivery], nowMs());
      options.onDue();
      return found(await findDelivery(db, delivery.id, null), delivery.id);
    },
    async listDeliveries(filter, page) {
      const rows = await selectDeliveries(db, filter, {
        cursor: page.cursor,
        limit: page.limit + 1,
      });
      return toPage(rows, page.limit);
    },
    getDelivery: async (id, owner) => found(await findDelivery(db, id, owner), id),
    async replay(id, owner) {
      const delivery = found(await replayDelivery(db, id, owner, nowMs()), id);
      options.onDue();
      return delivery;
    },
    deadWithin: (ms) => countDead(db, ms, DEAD_HOSTS_MAX),
    jobSecret: () => jobSecret(db, newSecret()),
  };
}

function pingDelivery(endpoint: WebhookEndpoint, ids: IdSource, nowMs: number) {
  const id = ids.next("whd");
  const eventId = ids.next("evt");
  const payload: WebhookPayload = {
    type: PING_TYPE,
    timestamp: toInstant(nowMs),
    data: { endpointId: endpoint.id },
    id: eventId,
    version: 1,
  };
  return {
    id,
    eventId,
    payload,
    eventType: PING_TYPE,
    jobId: null,
    endpointId: endpoint.id,
    url: endpoint.url,
    owner: endpoint.owner,
  };
}

function found<T>(value: T | undefined, id: string): T {
  if (value === undefined) throw new HoldfastError("not_found", `there is no ${id}`);
  return value;
}
