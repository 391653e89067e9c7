/**
 * Telling other programs what happened, by HTTP requests that they can verify (Standard Webhooks).
 *
 * I1 An event makes at most one delivery for each target; the target knows it by the event's id,
 *    which is the same in every try and every replay.
 * I2 A delivery is `pending` until a 2xx answer (`delivered`) or its last try (`dead`); it is never
 *    dropped in silence. `dead` and `delivered` may be sent again by hand.
 * I3 A try is made by one replica at a time: it is claimed for longer than it can take.
 * I4 Secrets are shown when they are made and never again, and reach no log.
 */
import { ENDED_JOB_STATUSES, type EventType } from "@holdfast/contract";

/** The states of a delivery. */
export const DELIVERY_STATES = ["pending", "delivered", "dead"] as const;
/** One of {@link DELIVERY_STATES}. */
export type DeliveryState = (typeof DELIVERY_STATES)[number];

/** A standing target of a caller. Instants are epoch milliseconds. */
export interface WebhookEndpoint {
  readonly id: string;
  readonly owner: string;
  readonly url: string;
  /** Types to send; empty sends all. */
  readonly eventTypes: readonly string[];
  readonly enabled: boolean;
  readonly createdAt: number;
}

/** One event on its way to one target. */
export interface Delivery {
  readonly id: string;
  readonly owner: string;
  /** Null for a job's own webhook. */
  readonly endpointId: string | null;
  readonly jobId: string | null;
  readonly eventId: string;
  readonly eventType: string;
  readonly url: string;
  readonly state: DeliveryState;
  readonly attemptCount: number;
  readonly nextAt: number;
  readonly lastStatus: number | null;
  readonly lastError: string | null;
  readonly createdAt: number;
  readonly endedAt: number | null;
}

/** A delivery that this replica may try now, with what it sends. */
export interface ClaimedDelivery {
  readonly id: string;
  readonly endpointId: string | null;
  readonly eventId: string;
  readonly url: string;
  readonly payload: unknown;
  /** This try's number, from 1 (again from 1 after a replay). */
  readonly attempt: number;
  /** The endpoint's or the job's own; null means the deployment's. */
  readonly secret: string | null;
}

/** What came of a try. */
export type TryOutcome =
  | { readonly kind: "answered"; readonly status: number }
  | { readonly kind: "failed"; readonly reason: string };

/** What is to be done about a try. */
export type TryDecision =
  | { readonly kind: "delivered" }
  | { readonly kind: "retry"; readonly delayMs: number; readonly error: string }
  | { readonly kind: "dead"; readonly error: string }
  /** The target says that it wants no more (410). */
  | { readonly kind: "unsubscribed"; readonly error: string };

/** What a job's own webhook is told when it names no types: how the job ended. */
export const JOB_WEBHOOK_DEFAULT_EVENTS: readonly EventType[] = ENDED_JOB_STATUSES.map(
  (status) => `job.${status}` as const,
);

/** Most endpoints a caller may have. */
export const MAX_ENDPOINTS_PER_OWNER = 50;
/** How long a claim lasts: longer than a try can take. */
export const CLAIM_MS = 60_000;
/** A try ends after this. */
export const TRY_TIMEOUT_MS = 10_000;
/** Tries of one replica at the same time, altogether and to one host. */
export const MAX_TRIES_AT_ONCE = 32;
export const MAX_TRIES_PER_HOST = 4;
/** Ended deliveries are kept this long. */
export const KEEP_ENDED_MS = 30 * 24 * 60 * 60 * 1000;
