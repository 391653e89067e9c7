/** Alerts, rules, silences and deliveries as the API shows them. */
import { entryName, matcherText, type KnownRule, type Threshold } from "@holdfast/alerts";
import type {
  AlertChannelView,
  AlertDeliveryView,
  AlertRuleView,
  AlertView,
  MadeSilenceView,
  SilenceView,
} from "@holdfast/contract";
import { toInstant, toInstantOrNull } from "../access/pages.ts";
import type { Delivery } from "./model.ts";
import type { MadeSilence, RuleFacts, ShownAlert, ShownChannel } from "./service.ts";
import type { StoredSilence } from "./silence-store.ts";

/** An alert. */
export function toAlertView({ alert, silencedBy }: ShownAlert): AlertView {
  const { id, rule, severity, state, labels, summary, advice, value, fingerprint } = alert;
  const { acknowledged, reason } = alert;
  return {
    id,
    rule,
    severity,
    state,
    labels: { ...labels },
    summary,
    advice,
    value,
    fingerprint,
    since: toInstant(alert.since),
    firedAt: toInstantOrNull(alert.firedAt),
    resolvedAt: toInstantOrNull(alert.resolvedAt),
    reason,
    silencedBy,
    acknowledged:
      acknowledged === null ? null : { ...acknowledged, at: toInstant(acknowledged.at) },
  };
}

/** A rule, with what the last evaluation saw of it. */
export function toRuleView({ entry, source }: KnownRule, facts: RuleFacts): AlertRuleView {
  const name = entryName(entry);
  const told = new Set(facts.last?.told);
  const rule = entry.kind === "rule" ? entry.rule : undefined;
  const thresholds = rule === undefined ? [] : [rule.when, ...rule.alongside];
  return {
    name,
    source,
    enabled: rule !== undefined,
    severity: rule?.severity ?? null,
    summary: rule?.summary ?? null,
    advice: rule?.advice ?? null,
    when: rule === undefined ? null : toThresholdView(rule.when),
    alongside: (rule?.alongside ?? []).map(toThresholdView),
    forMs: rule?.forMs ?? 0,
    resolveAfterMs: rule?.resolveAfterMs ?? 0,
    noDataMs: rule?.noDataMs ?? 0,
    labels: { ...rule?.labels },
    hasData: rule !== undefined && thresholds.every(({ metric }) => told.has(metric)),
    alerts: facts.alertsByRule.get(name) ?? 0,
    omitted: facts.last?.omitted[name] ?? 0,
  };
}

function toThresholdView({ metric, where, comparison, value, resolveValue }: Threshold) {
  const limit = comparison === "above" ? { above: value } : { below: value };
  return { metric, where: { ...where }, ...limit, resolve: resolveValue };
}

/** A silence at an instant, epoch ms. */
export function toSilenceView(silence: StoredSilence, now: number): SilenceView {
  const { id, matchers, reason, createdBy, startsAt, endsAt } = silence;
  return {
    id,
    matchers: matchers.map(matcherText),
    reason,
    createdBy,
    startsAt: toInstant(startsAt),
    endsAt: toInstant(endsAt),
    active: startsAt <= now && now < endsAt,
  };
}

/** A silence that was just made. */
export function toMadeSilenceView({ silence, fitsNow }: MadeSilence, now: number): MadeSilenceView {
  return { ...toSilenceView(silence, now), fitsNow };
}

/** A channel. */
export function toChannelView({ settings, target, pausedUntil }: ShownChannel): AlertChannelView {
  const { name, type, minSeverity } = settings;
  return { name, type, minSeverity, target, pausedUntil: toInstantOrNull(pausedUntil) };
}

/** A notification. */
export function toDeliveryView(delivery: Delivery): AlertDeliveryView {
  const { id, channel, cause, state, attemptCount, lastError } = delivery;
  return {
    id,
    channel,
    cause,
    state,
    alerts: delivery.alerts.map(({ id: alertId, status, rule, summary }) => ({
      id: alertId,
      status,
      rule,
      summary,
    })),
    attemptCount,
    nextAt: state === "pending" ? toInstant(delivery.nextAt) : null,
    lastError,
    createdAt: toInstant(delivery.createdAt),
    endedAt: toInstantOrNull(delivery.endedAt),
  };
}
