/**
 * Alerts for operators: rules over samples, what came of them, and who was told. The decisions are those
 * of `@holdfast/alerts`; here is what is kept, who looks, and how it is sent.
 *
 * A1 One replica evaluates at a time, under an advisory lock, and at most once in its time: alerts,
 *    events and notifications of an evaluation are written in one transaction, or not at all.
 * A2 Everything that is remembered between two evaluations is in the database. A replica that goes on
 *    where another has died neither tells anything twice nor leaves it out.
 * A3 A channel has one notification under way at a time (a unique index says so), and knows of an alert
 *    only what has arrived there. A try is claimed for longer than it can take; one that was made by a
 *    process that died before it wrote so is made again, under the same id.
 * A4 A notification is `pending` until it arrived (`delivered`) or was given up (`dead`); then the
 *    channel is left alone for a time, and told what is still so.
 * A5 Secrets of channels are in files, read when they are used, and reach no log, row or answer. Of an
 *    address only the host is shown.
 */
import {
  CHANNELS_MAX,
  type ChannelSettings,
  type Labels,
  type NoticeItem,
  type Severity,
} from "@holdfast/alerts";
import type { ALERT_DELIVERY_STATES, ALERT_STATES } from "@holdfast/contract";

/** State of an alert in the database. */
export type AlertState = (typeof ALERT_STATES)[number];
/** State of a delivery. */
export type DeliveryState = (typeof ALERT_DELIVERY_STATES)[number];

/** An alert as it is kept. Instants are epoch ms. */
export interface StoredAlert {
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
  readonly firedAt: number | null;
  readonly clearSince: number | null;
  readonly missingSince: number | null;
  readonly resolvedAt: number | null;
  readonly reason: string | null;
  readonly acknowledged: Acknowledgement | null;
}

/** That somebody is at an alert. */
export interface Acknowledgement {
  readonly at: number;
  readonly by: string;
  readonly note: string | null;
}

/** Why a notification was made. */
export type NoticeCause = "change" | "repeat" | "test";

/** An alert in a notification, as it was when that was made. */
export interface NoticedAlert extends NoticeItem {
  readonly fingerprint: string;
  readonly rule: string;
  readonly severity: Severity;
  readonly labels: Labels;
  /** Of a resolved one it says that it is over, and what it was. */
  readonly summary: string;
  readonly advice: string | null;
  /** Null of a resolved one: what it is now nobody kept. */
  readonly value: number | null;
  /** Of a resolved one: the last value while it fired. */
  readonly lastValue: number | null;
  readonly firedAt: number;
  /** Of a resolved one. */
  readonly resolvedAt: number | null;
  readonly reason: string | null;
}

/** One notification on its way to one channel. */
export interface Delivery {
  readonly id: string;
  readonly channel: string;
  readonly cause: NoticeCause;
  readonly alerts: readonly NoticedAlert[];
  readonly state: DeliveryState;
  readonly attemptCount: number;
  readonly nextAt: number;
  readonly lastError: string | null;
  readonly createdAt: number;
  readonly endedAt: number | null;
}

/** A notification as a channel sends it. */
export interface Notification {
  /** The same in every try. */
  readonly id: string;
  readonly cause: NoticeCause;
  readonly createdAt: number;
  readonly alerts: readonly NoticedAlert[];
}

/** What came of a try. */
export type SendOutcome =
  | { readonly kind: "sent" }
  /** It was not taken, and would not be taken again. */
  | { readonly kind: "refused"; readonly reason: string }
  /** It was not taken; later it may be. */
  | { readonly kind: "failed"; readonly reason: string }
  /** Nobody can tell whether it arrived. */
  | { readonly kind: "unknown"; readonly reason: string };

/** One place to which alerts are delivered. What goes wrong is an outcome; an abort is thrown. */
export interface AlertChannel {
  readonly settings: ChannelSettings;
  /** The host, for people and logs. */
  readonly target: string;
  send(notification: Notification, signal: AbortSignal): Promise<SendOutcome>;
  close(): Promise<void>;
}

/** How often the rules are looked at. */
export const EVALUATE_EVERY_MS = 10_000;
/** What changes within this time after a notification goes together with the next. */
export const GROUP_MS = 30_000;
/** After a notification was given up the channel is left alone for so long. */
export const PAUSE_MS = 5 * 60_000;
/** How long a claim lasts: longer than a try can take. */
export const CLAIM_MS = 90_000;
/** A try ends after this; mail servers greet slowly on purpose. */
export const TRY_TIMEOUT_MS = 15_000;
export const MAIL_TIMEOUT_MS = 45_000;
/** Tries of one replica at the same time: a notification and a test of each channel, so that none waits. */
export const MAX_TRIES_AT_ONCE = 2 * CHANNELS_MAX;
/** What has ended is kept for so long: alerts, deliveries, silences. */
export const KEEP_ENDED_MS = 30 * 24 * 60 * 60 * 1_000;
/** A notification of a channel that nobody has configured any more is given up after this. */
export const ORPHAN_MS = 24 * 60 * 60 * 1_000;
/** Silences in force at one time. */
export const MAX_SILENCES = 200;
/** Longest error that is kept of a try. */
export const MAX_ERROR_LENGTH = 500;
