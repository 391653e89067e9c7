import type { AlertmanagerChannel } from "@holdfast/alerts";
import type { Clock } from "@holdfast/runtime";
import type { GuardedFetch } from "../../access/guarded-fetch.ts";
import type { AlertChannel, NoticedAlert } from "../model.ts";
import { postJson } from "./post.ts";
import { readSecretFile } from "./secret-file.ts";

/**
 * An alert that is not told again ends by itself after this: several refreshments, so that one that comes
 * late, or a change of replica, does not end it. Alertmanager 0.25's own default is 5 minutes.
 */
const LASTS_MS = 5 * 60_000;
const API_PATH = "/api/v2/alerts";

/** Prometheus's Alertmanager: told again and again what fires, and once what is resolved. */
export function openAlertmanagerChannel(
  settings: AlertmanagerChannel,
  deps: { readonly fetcher: Pick<GuardedFetch, "fetch">; readonly clock: Pick<Clock, "now"> },
): AlertChannel {
  return {
    settings,
    target: new URL(settings.url).host,
    async send({ alerts, cause }, signal) {
      const headers: Record<string, string> = {};
      if (settings.tokenFile !== null) {
        const token = await readSecretFile(settings.tokenFile);
        if (token.kind === "failed") return token;
        headers["authorization"] = `Bearer ${token.text}`;
      }
      const now = deps.clock.now();
      // A test is over when it is told: nothing would end it later.
      const lastsMs = cause === "test" ? 60_000 : LASTS_MS;
      const body = JSON.stringify(alerts.map((alert) => toAlertmanager(alert, now + lastsMs)));
      return await postJson(deps.fetcher, settings.url + API_PATH, body, headers, signal);
    },
    close: async () => undefined,
  };
}

/**
 * An alert as API v2 takes it. Names of labels were checked when the alert was made; an empty value is
 * answered with 400, and there are none.
 */
function toAlertmanager(alert: NoticedAlert, endsAt: number) {
  const { rule, severity, labels, summary, advice, status, firedAt, resolvedAt } = alert;
  const isOver = status === "resolved";
  return {
    labels: { ...labels, alertname: rule, severity, source: "holdfast" },
    // What is to be done about it is of no use once it is over.
    annotations: { summary, ...(advice === null || isOver ? {} : { description: advice }) },
    startsAt: new Date(firedAt).toISOString(),
    endsAt: new Date(isOver ? (resolvedAt ?? firedAt) : endsAt).toISOString(),
  };
}
