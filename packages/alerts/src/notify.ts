/**
 * What a channel is told, and when. Pure; one channel at a time.
 *
 * N1 A channel is told that an alert fires once, and once that it is resolved, and nothing of an alert
 *    that came and went untold. A reminder is marked as one.
 * N2 The next notification is planned when the one before has arrived or was given up: they come in order.
 * N3 The first notification goes at once; what changes within the gathering time after it goes together.
 * N4 A silenced alert is not told; that a told one is resolved is told all the same, so that nobody goes
 *    on waiting for its end.
 */
import { isAtLeast, type Severity } from "./rule.ts";

/** Whether a channel knows that an alert fires. `maybe`: it was sent, and nobody knows what became of it. */
export type Told = "no" | "maybe" | "yes";

/** An alert, and what one channel knows of it. Instants are epoch ms. */
export interface TellableAlert {
  readonly id: string;
  readonly severity: Severity;
  readonly state: "firing" | "resolved";
  readonly firedAt: number;
  readonly resolvedAt: number | null;
  readonly isSilenced: boolean;
  /** Somebody is at it: no reminders. */
  readonly isAcknowledged: boolean;
  /** What the channel knows; of one whose end it was told: `no`. */
  readonly told: Told;
  /** When the channel was told last that it fires. */
  readonly toldAt: number | null;
}

/** How a channel wants to be told. */
export interface TellingPolicy {
  readonly minSeverity: Severity;
  readonly groupMs: number;
  readonly repeatMs: number;
  /**
   * `remind`: people are reminded of what still fires, unless it is silenced or acknowledged. `refresh`:
   * a program forgets what it is not told again, so all that it knows of is told.
   */
  readonly repeats: "remind" | "refresh";
}

/** Where a channel stands. */
export interface ChannelStanding {
  /** A notification is on its way. */
  readonly isBusy: boolean;
  /** When the last notification was planned. */
  readonly plannedAt: number | null;
  /** It was given up on, and is left alone until then. */
  readonly pausedUntil: number | null;
}

/** One alert in a notification. */
export interface NoticeItem {
  readonly id: string;
  readonly status: "firing" | "resolved";
}

/** What to send now. */
export type NotificationPlan =
  | { readonly kind: "nothing" }
  | {
      readonly kind: "send";
      readonly cause: "change" | "repeat";
      readonly items: readonly NoticeItem[];
    };

/** Most alerts in one notification; what is left goes with the next. */
export const NOTICE_ITEMS_MAX = 100;

const NOTHING: NotificationPlan = { kind: "nothing" };

/** The next notification of a channel. */
export function planNotification(
  policy: TellingPolicy,
  alerts: readonly TellableAlert[],
  standing: ChannelStanding,
  now: number,
): NotificationPlan {
  const { isBusy, plannedAt, pausedUntil } = standing;
  if (isBusy || (pausedUntil !== null && now < pausedUntil)) return NOTHING; // N2
  const changes = changesOf(policy, alerts);
  if (changes.length > 0) {
    if (plannedAt !== null && now - plannedAt < policy.groupMs) return NOTHING; // N3
    return { kind: "send", cause: "change", items: changes.slice(0, NOTICE_ITEMS_MAX) };
  }
  const repeats = repeatsOf(policy, alerts, now);
  if (repeats.length === 0) return NOTHING;
  return { kind: "send", cause: "repeat", items: repeats.slice(0, NOTICE_ITEMS_MAX) };
}

/** Ends first: an alert that came again is told as ended before it is told as firing. */
function changesOf(policy: TellingPolicy, alerts: readonly TellableAlert[]): NoticeItem[] {
  const ends = alerts
    .filter(({ state, told }) => state === "resolved" && told !== "no")
    .toSorted((one, other) => (one.resolvedAt ?? 0) - (other.resolvedAt ?? 0))
    .map(({ id }): NoticeItem => ({ id, status: "resolved" }));
  const begins = alerts
    .filter(({ state, told }) => state === "firing" && told !== "yes")
    .filter(({ isSilenced, severity }) => !isSilenced && isAtLeast(severity, policy.minSeverity))
    .toSorted((one, other) => one.firedAt - other.firedAt)
    .map(({ id }): NoticeItem => ({ id, status: "firing" }));
  return [...ends, ...begins];
}

/** All that may be repeated as soon as one is due, so that reminders do not trickle. */
function repeatsOf(
  { repeatMs, repeats }: TellingPolicy,
  alerts: readonly TellableAlert[],
  now: number,
): NoticeItem[] {
  const repeatable = alerts.filter(
    ({ state, told, isSilenced, isAcknowledged }) =>
      state === "firing" &&
      told === "yes" &&
      (repeats === "refresh" || (!isSilenced && !isAcknowledged)),
  );
  const isDue = repeatable.some(({ toldAt }) => toldAt !== null && now - toldAt >= repeatMs);
  if (!isDue) return [];
  return repeatable
    .toSorted((one, other) => (one.toldAt ?? 0) - (other.toldAt ?? 0))
    .map(({ id }) => ({ id, status: "firing" }));
}
